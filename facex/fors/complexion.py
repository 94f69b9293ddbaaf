# SPDX-License-Identifier: Apache-2.0
"""The target's own bare skin beside another's face: it takes on that face's complexion (DESIGN 4).

A dark face between pale ears, above a pale neck, is a mask. How much of a difference is complexion
and how much is light, :mod:`facex.fors.relight` decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.face_picture import FacePicture
from facex.fors.fill import lit, smooth_gain
from facex.fors.morphology import resized
from facex.fors.region_masks import together
from facex.fors.relight import ColourMap
from facex.types import Region

Floats = NDArray[np.float32]

SKIN: Final = (Region.SKIN, Region.NOSE, Region.BEARD)
"""Regions whose colours are compared."""

_SEEN: Final = 1.5
"""Difference of complexion, in CIELAB, that is hardly seen between a face and its neck."""
_BORDER: Final = 0.12
"""Width of the crop's border over which a tone fades, as a share of its side: skin goes on."""
_RIM: Final = 0.03
"""How far into hair skin is looked for, as a share of the side."""
_GOES_ON: Final = 0.06
"""How far beyond the skin its colour goes on in hair, as a share of the side."""
_FRAME: Final = 0.4
"""Lightness in shares of the skin's below which it is the frame, not skin behind a lens."""
_UNLIKE: Final = 12.0
"""Difference of skin and hair, CIELAB, from which on they are told apart."""


def tone_of(colours: ColourMap | None) -> ColourMap | None:
    """What the target's bare skin needs to go with a picture; None: it goes with it as it is."""
    if colours is None or np.linalg.norm(colours.left) < _SEEN:
        return None
    return colours.rest()


def bare_skin(masks: Mapping[Region, Floats], between: Floats, toned: frozenset[Region]) -> Floats:
    """Where a picture shows bare skin beside its face.

    Args:
        masks: of its regions, ``(S, S)``.
        between: of its skin among hair (:func:`skin_in_hair`).
        toned: the regions that are skin.

    Returns:
        ``(S, S)`` in [0, 1], fading towards the border of the crop.
    """
    nothing = np.zeros_like(masks[Region.SKIN])
    bare = sum((masks[region] for region in toned), nothing) + between
    return np.asarray(np.minimum(bare, 1) * _frame(len(nothing)), np.float32)


def toned(pixels: Floats, bare: Floats, masks: Mapping[Region, Floats], tone: ColourMap) -> Floats:
    """A picture ``(H, W, 3)`` with another complexion, on its face and where skin is bare."""
    share = np.maximum(together(masks, SKIN), bare)
    if share.shape != pixels.shape[:2]:
        share = cv2.resize(share, (pixels.shape[1], pixels.shape[0]))
    moved = tone.apply(pixels)
    return np.asarray(pixels + (moved - pixels) * share[..., None], np.float32)


def into_hair(
    image: Floats,
    before: Floats,
    skin: Floats,
    masks: Mapping[Region, Floats],
    between: Floats,
) -> Floats:
    """Skin among hair in the colour of the skin beside it: a hairline has no rim of another tone.

    Args:
        image: ``(S, S, 3)`` RGB in [0, 1], with another face in it.
        before: the same without.
        skin: ``(S, S)`` in [0, 1], where the image shows skin.
        masks: of the regions of the picture that the hair is part of, of any size.
        between: of its skin among hair (:func:`skin_in_hair`), of that size.
    """
    size = len(skin)
    own, hair = (
        resized(np.asarray(np.minimum(part, 1), np.float32), size)
        for part in (together(masks, SKIN), between)
    )
    both = np.asarray(np.clip(skin, 0, 1) * (own > 0.95), np.float32)
    if not both.any():
        return image
    away = cv2.distanceTransform(np.asarray(both < 0.5, np.uint8), cv2.DIST_L2, 5)
    share = hair * (1 - np.clip(skin, 0, 1)) * np.clip(1 - away / (_GOES_ON * size), 0, 1)
    gain = smooth_gain(image, before, both)
    return np.asarray(lit(image, 1 + (gain - 1) * share[..., None]), np.float32)


def through_glasses(image: Floats, relit: Floats, colours: ColourMap) -> Floats:
    """Glasses in another light: the frame keeps its colour, skin behind the lenses does not.

    Args:
        image: ``(H, W, 3)`` as it was.
        relit: the same with the colour map of the skin.
        colours: that map.
    """
    light = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB)[..., 0]
    share = np.clip((light / max(float(colours.pivot[0]), 1.0) - _FRAME) / 0.3, 0, 1)
    frame = colours.plain().apply(image)
    return np.asarray(frame + (relit - frame) * share[..., None], np.float32)


def skin_in_hair(masks: Mapping[Region, Floats], picture: FacePicture) -> Floats:
    """Skin among what is called hair, along the hairline: a pixel's share, by its colour.

    Args:
        masks: of the picture's regions, ``(S, S)``.
        picture: the picture.

    Returns:
        ``(S, S)`` in [0, 1].
    """
    size = picture.crop_size
    hair = masks[Region.HAIR]
    skin = together(masks, SKIN)
    image = picture.pixels
    if image.shape[0] != size:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB)
    radius = max(1, round(_RIM * size))
    near = cv2.dilate(np.asarray(skin > 0.5, np.uint8), np.ones((2 * radius + 1,) * 2, np.uint8))
    means = []
    for part in (np.asarray(skin > 0.9, np.float32), np.asarray(hair > 0.9, np.float32)):
        weight = cv2.blur(part, (4 * radius + 1,) * 2)[..., None] + np.float32(1e-4)
        whole = (lab * part[..., None]).sum((0, 1)) / max(float(part.sum()), 1.0)
        blurred = cv2.blur(lab * part[..., None], (4 * radius + 1,) * 2)
        means.append((blurred + whole * np.float32(1e-4)) / weight)
    line = means[0] - means[1]
    length = np.square(line).sum(-1)
    share = ((lab - means[1]) * line).sum(-1) / np.maximum(length, 1e-3)
    told = np.clip(np.sqrt(length) / _UNLIKE - 1, 0, 1)
    share = np.clip((share - 0.25) / 0.6, 0, 1) * told * near * hair
    return np.asarray(cv2.GaussianBlur(share.astype(np.float32), (0, 0), size / 400), np.float32)


def _frame(size: int) -> Floats:
    """``(size, size)``, 1 but for a ramp along the border."""
    steps = np.minimum(np.arange(size), np.arange(size)[::-1]) / (size * _BORDER)
    ramp = np.minimum(steps, 1).astype(np.float32)
    return np.asarray(np.minimum(ramp[:, None], ramp[None]), np.float32)
