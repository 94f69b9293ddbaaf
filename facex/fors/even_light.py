# SPDX-License-Identifier: Apache-2.0
"""Light that falls on one side of a face, and colour that is thrown on it, taken off.

Faces are nearly symmetric, and what is not in their brightness is light: a lamp beside them, the
shadow of a nose or a tree. In another photo, in another light, it would be a stain. So the
difference between a face and its mirror image, where both show skin, smooth as it is, is taken off
the side that is further from what most of the face looks like; what both sides share stays. A hue
that the rest of the skin is far from goes from both: clothes and coloured lamps throw it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.face_picture import FacePicture
from facex.fors.mirror import other_half
from facex.fors.morphology import resized, weighted_mean
from facex.types import REGION_CLASSES, Region

Floats = NDArray[np.float32]

_SKIN: Final = REGION_CLASSES[Region.SKIN] + REGION_CLASSES[Region.NOSE]
_FACE: Final = (
    *_SKIN,
    *REGION_CLASSES[Region.EYES],
    *REGION_CLASSES[Region.BROWS],
    *REGION_CLASSES[Region.LIPS],
)
_SMOOTH: Final = 0.03
"""Deviation of the blur of the difference, as a share of the side."""
_WIDE: Final = 0.07
"""The same for which of the two sides is the odd one."""
_EVEN: Final = 0.003
"""Squared difference of log brightness below which neither is."""
_DARK: Final = 0.04
"""Added to brightness before it is compared: black is noise."""
_SURE: Final = 0.15
"""Share of skin on both sides from which on the difference is believed."""
_LEAST: Final = 0.08
"""Difference of log brightness that faces have in even light."""
_MOST: Final = 1.2
_HUE: Final = 0.45
"""Radians in CIELAB's a, b by which skin may be off the hue of most of the face: that of 19 of 20
faces is nowhere further off by more than a few units of colour."""
_DEEP: Final = (1.6, 10.0)
"""Chroma of skin, in that of most of the face and beyond it, that shadows of contrasty photos have
more of: of 250 faces, a twentieth of the skin of a tenth of them."""
_TINTED: Final = 0.02
"""Deviation of the blur of hues, as a share of the side."""


class EvenLight:
    """Pictures of one edit without light from one side.

    Attributes:
        sides: what :func:`side_light` and :func:`thrown_tint` found, by the picture's name.
    """

    def __init__(self) -> None:
        self.sides: dict[str, Floats] = {}
        self._lit: dict[str, Floats] = {}

    def pixels(self, name: str, picture: FacePicture) -> Floats:
        """Pixels of a picture, ``(h, w, 3)``; the light may have been found at another size."""
        if name not in self.sides:
            tint = thrown_tint(picture)
            plain = np.clip(resized(picture.pixels, picture.crop_size) / tint, 0, 1)
            self.sides[name] = side_light(replace(picture, image=plain)) * tint
        if name not in self._lit:
            pixels = picture.pixels
            self._lit[name] = np.clip(pixels / resized(self.sides[name], pixels.shape[0]), 0, 1)
        return self._lit[name]


def side_light(picture: FacePicture) -> Floats:
    """By how much light from one side brightens and tints each place of a face.

    Args:
        picture: the face, at the size of its crop.

    Returns:
        ``(S, S, 3)``, the factor on sRGB values; 1 away from the face.
    """
    size, points = picture.crop_size, np.asarray(picture.landmarks, np.float64)
    skin, face = (
        np.isin(picture.parsing, classes).astype(np.float32) for classes in (_SKIN, _FACE)
    )
    light = np.log(resized(picture.pixels, size) + _DARK)
    visible, other, both = other_half(points, light, skin)
    both = both * visible * skin
    sigma = _SMOOTH * size
    weight = cv2.GaussianBlur(both, (0, 0), sigma)[..., None]
    if weight.max() < _SURE:
        return np.ones_like(light)
    here, there = (
        cv2.GaussianBlur(side * both[..., None], (0, 0), sigma) / np.maximum(weight, 1e-4)
        for side in (light, other)
    )
    usual = np.median(here.mean(-1)[both > 0.5])
    # Whose side is the odd one changes slowly, or it would show.
    wide, odd = _WIDE * size, here - there
    far, near = (
        cv2.GaussianBlur(np.square(side.mean(-1) - usual) * both, (0, 0), wide)[..., None] + _EVEN
        for side in (here, there)
    )
    grey = np.abs(odd.mean(-1, keepdims=True))
    # Faces in even light have a little of it, too.
    share = np.clip(grey - _LEAST, 0, _MOST) / np.maximum(grey, 1e-4)
    share = share * far / (far + near)
    sure = np.clip(weight / _SURE, 0, 1) * cv2.GaussianBlur(face, (0, 0), sigma / 2)[..., None]
    return np.asarray(np.exp(odd * share * sure), np.float32)


def thrown_tint(picture: FacePicture) -> Floats:
    """By how much light of a colour that the rest of a face has not tints each place of its skin.

    Nor is it anywhere much deeper than there.

    Args:
        picture: the face, at the size of its crop.

    Returns:
        ``(S, S, 3)``, the factor on sRGB values; 1 away from the face.
    """
    size = picture.crop_size
    skin = cv2.erode(np.isin(picture.parsing, _SKIN).astype(np.uint8), np.ones((3, 3), np.uint8))
    skin = skin.astype(np.float32)
    sigma = _TINTED * size
    if not skin.any():
        return np.ones((size, size, 3), np.float32)
    lab = cv2.cvtColor(np.ascontiguousarray(resized(picture.pixels, size)), cv2.COLOR_RGB2LAB)
    here, weight = weighted_mean(lab, skin, sigma)
    most = np.median(lab[skin > 0.5][:, 1:], axis=0)
    usual, deepest = np.arctan2(*most[::-1]), float(np.hypot(*most))
    deepest = max(_DEEP[0] * deepest, deepest + _DEEP[1])
    chroma, hue = np.hypot(here[..., 1], here[..., 2]), np.arctan2(here[..., 2], here[..., 1])
    off = np.angle(np.exp(1j * (hue - usual)))
    kept = np.clip(off, -_HUE, _HUE)
    # The nearest colour of those hues.
    length = np.minimum(chroma * np.cos(np.minimum(np.abs(off - kept), np.pi / 2)), deepest)
    even = np.stack(
        [here[..., 0], length * np.cos(usual + kept), length * np.sin(usual + kept)], -1
    )
    tinted, plain = (
        cv2.cvtColor(np.asarray(x, np.float32), cv2.COLOR_LAB2RGB) + _DARK for x in (here, even)
    )
    tint = np.log(tinted / plain) * (weight > 0.1)[..., None] * np.clip(2 * weight, 0, 1)[..., None]
    return np.asarray(np.exp(cv2.GaussianBlur(tint, (0, 0), sigma / 2)), np.float32)
