# SPDX-License-Identifier: Apache-2.0
"""Light that falls on one side of a face, taken off it.

Faces are nearly symmetric, and what is not in their brightness is light: a lamp beside them, the
shadow of a nose or a tree. In another photo, in another light, it would be a stain. So the
difference between a face and its mirror image, where both show skin, smooth as it is, is taken off
the side that is further from what most of the face looks like; what both sides share stays.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.mirror import other_half
from facex.fors.region_masks import FacePicture, resized
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


class EvenLight:
    """Pictures of one edit without light from one side.

    Attributes:
        sides: what :func:`side_light` found, by the picture's name.
    """

    def __init__(self) -> None:
        self.sides: dict[str, Floats] = {}
        self._lit: dict[str, Floats] = {}

    def pixels(self, name: str, picture: FacePicture) -> Floats:
        """Pixels of a picture, ``(h, w, 3)``; the light may have been found at another size."""
        if name not in self.sides:
            self.sides[name] = side_light(picture)
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
