# SPDX-License-Identifier: Apache-2.0
"""The beard of a face that is replaced by a bare one reaches beyond it, below the chin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.beard import INNER
from facex.fors.face_picture import FacePicture
from facex.fors.morphology import disc, grow, resized
from facex.fors.region_masks import Masks, face_of
from facex.fors.trim import beard_of, higher_than
from facex.geometry.topology import LOWER_LIP
from facex.recipes.plan import Plan
from facex.recipes.values import NONE, TARGET
from facex.types import FACE_REGIONS, Region

Floats = NDArray[np.float32]

SURE: Final = 0.5
"""How sure a beard must be."""
_REACH: Final = {Region.NECK: 0.07, Region.CLOTH: 0.02}
"""How far below a face its hairs reach, or the neck in their shade, as a share of the side."""
_SMOOTH: Final = 0.005
"""Deviation of the blur by which single hairs have one colour, as a share of the side."""
_LIGHT: Final = 0.7
"""Weight of L* in differences of CIELAB: hairs shade each other."""
_UNLIKE: Final = 8.0
"""Difference from the cheeks from which on a chin has hairs."""
_LIKE: Final = 16.0
"""Difference from the beard's colour that is still beard."""
_NEARER: Final = 0.7
"""Share of the difference from the cheeks' colour that it must be less than."""
_SHADE: Final = 0.55
"""Brightness below a chin, as a share of the face's, that a shadow leaves of it."""
_FINE: Final = 0.016
"""Deviation of the blur that leaves of hairs their shade, as a share of the side."""
_STUBBLE: Final = np.float32(0.4)
"""How much of single hairs is left as texture."""
_GAP: Final = 0.012
"""Half the width of a gap in it, as a share of the side."""
_HAIRS: Final = 0.008
"""How far single hairs reach beyond what was found, as a share of the side."""


def shaves(plan: Plan, pictures: Mapping[str, FacePicture], masks: Mapping[str, Masks]) -> bool:
    """Whether a bearded face is replaced by one without a beard.

    Args:
        plan: which region comes from whom.
        pictures: decomposed pictures by name, always with ``target``.
        masks: of their regions.
    """
    owner = plan.pixels[Region.BEARD]
    if owner in (TARGET, NONE) or owner not in masks or plan.pixels[Region.SKIN] != owner:
        return False
    own, other = (beard_of(pictures[name], masks[name]) for name in (TARGET, owner))
    return own > SURE > other


def take_off_beard(masks: Masks, picture: FacePicture) -> None:
    """Count what of a beard lies on neck, clothes and ground as beard, in place.

    Args:
        masks: of the bearded face's regions, ``(S, S)`` in [0, 1] each.
        picture: that face.
    """
    hairs = _below(masks, picture)
    for region in masks.keys() - set(FACE_REGIONS):
        masks[region] = masks[region] * (1 - hairs)
    masks[Region.BEARD] = masks[Region.BEARD] + np.clip(hairs - face_of(masks), 0, 1)


def _below(masks: Masks, picture: FacePicture) -> Floats:
    """Pixels below the face that have the colour of its beard and go on from it, ``(S, S)``."""
    size = picture.crop_size
    skin, jaw = masks[Region.SKIN], masks[Region.BEARD]
    points = np.asarray(picture.landmarks, np.float64)
    lower = higher_than(points, LOWER_LIP, size) < 0.5
    lab = cv2.cvtColor(resized(picture.pixels, size), cv2.COLOR_RGB2LAB)
    lab = np.asarray(cv2.GaussianBlur(lab, (0, 0), _SMOOTH * size), np.float32)
    cheeks = (skin > INNER) & ~lower
    chin = (jaw > INNER) & lower
    if not cheeks.any() or not chin.any():
        return np.zeros_like(skin)
    bare = np.median(lab[cheeks], axis=0)
    from_skin = _apart(lab, bare)
    hairy = chin & (from_skin > _UNLIKE)
    if not hairy.any():
        return np.zeros_like(skin)
    beard = np.median(lab[hairy], axis=0)
    face = np.asarray(skin + jaw > 0.5, np.uint8)
    away = _apart(lab, beard)
    # The deepest shade of dark hair is darker than all that is seen of it elsewhere.
    like = (away < _LIKE) | ((lab[..., 0] < beard[0]) & (beard[0] < bare[0]))
    like &= lower & (face == 0) & (away < _NEARER * from_skin)
    # The border between the two is theirs, too.
    found = (face > 0) & lower
    for region, reach in _REACH.items():
        near = cv2.dilate(face, disc(round(reach * size))) > 0
        found |= like & near & (masks[region] > 0.5)
    whole = cv2.morphologyEx(found.astype(np.float32), cv2.MORPH_CLOSE, disc(round(_GAP * size)))
    hairs = grow(whole, max(1, round(_HAIRS * size)))
    return np.asarray(hairs * lower, np.float32)


def _apart(lab: Floats, colour: Floats) -> Floats:
    """Difference ``(S, S)`` of a picture in CIELAB from a colour (3,)."""
    weights = np.array([_LIGHT, 1, 1], np.float32)
    return np.asarray(np.linalg.norm((lab - colour) * weights, axis=-1), np.float32)


def bare_neck(image: Floats, own: Floats, neck: Floats, skin: Floats) -> Floats:
    """What a beard hid of a neck, over the whole picture: shaven, in a lighter shade.

    Args:
        image: ``(S, S, 3)`` in [0, 1].
        own: likewise, the neck with its beard.
        neck: likewise, the neck that is known, gone on (`facex.fors.neck.fill_neck`).
        skin: ``(S, S)`` in [0, 1], where the image shows skin of the face.

    Returns:
        ``(S, S, 3)`` in [0, 1].
    """
    smooth = neck
    if skin.max() > INNER:
        tone = np.median(image[skin > INNER], axis=0) * np.float32(_SHADE)
        smooth = np.maximum(neck, tone)
    fine = own - cv2.GaussianBlur(own, (0, 0), _FINE * own.shape[0])
    return np.asarray(np.clip(smooth + _STUBBLE * fine, 0, 1), np.float32)
