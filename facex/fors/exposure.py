# SPDX-License-Identifier: Apache-2.0
"""Light or complexion: what else than skin tells how two photos are lit.

Pale skin in the shade and dark skin in the sun may have one colour. The whites of eyes are nearly
the same in everybody, and a photo that is bright as a whole was exposed for it. Of 126 pairs of
photos of one person (66 people, their photos taken on different days), whose skin differs by light
alone, the whites explain .16, .34 and .63 of the differences of L, a and b, with the whole photos
.43 of those of L. Differences of 280 pairs of strangers have twice to three times that variance:
the rest is complexion. The best linear guess at the light follows from both (Gaussian, each
independent), and is written down below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.face_picture import FacePicture
from facex.fors.morphology import resized
from facex.geometry.band import filled
from facex.geometry.topology import EYES, IRISES
from facex.geometry.visibility import eye_openness, iris_disc
from facex.types import PARSING_CLASSES

Floats = NDArray[np.float32]

_GLASSES: Final = PARSING_CLASSES.index("eye_g")
_WORN: Final = 0.002
"""Share of the picture that is glasses: the sky is mirrored in them."""
_OPEN: Final = 0.2
"""Height over width from which an eye shows its white."""
_RIM: Final = 1.1
"""Radii of the iris from which on there is white."""
_LEAST: Final = 8
"""Pixels of it that tell a colour."""
_WHITEST: Final = (0.5, 0.9)
"""Quantiles of its lightness that are neither lid nor highlight."""

_BY_WHITES: Final = np.array([0.15, 0.309, 0.547], np.float32)
_BY_PHOTO: Final = np.array([0.177, 0.154], np.float32)
_BY_SKIN: Final = np.array([0.19, 0.38, 0.22], np.float32)
_BY_PHOTO_ALONE: Final = np.array([0.2, 0.131], np.float32)
_BY_SKIN_ALONE: Final = np.array([0.23, 0.48, 0.42], np.float32)
"""Shares of the differences of L, a, b of whites; of the photos' bright and middle L; of skin; and
the same without whites, from the regressions of the module's docstring."""
_BEYOND: Final = 3.0
"""How far the guess may lie outside of what the skin differs by, CIELAB."""


@dataclass(frozen=True)
class Exposure:
    """How a photo is lit, as far as it tells.

    Attributes:
        whites: (3,) CIELAB of the brighter eye's white, None where none is seen.
        levels: (2,) lightness 0 to 100 below which 95 and 50 % of the picture lie.
    """

    whites: Floats | None
    levels: Floats


def exposure_of(picture: FacePicture) -> Exposure:
    """Read the whites of the eyes, if no glasses are before them, and the levels of a picture."""
    size = picture.crop_size
    lab = cv2.cvtColor(np.ascontiguousarray(resized(picture.pixels, size)), cv2.COLOR_RGB2LAB)
    levels = np.percentile(lab[..., 0], [95, 50]).astype(np.float32)
    points = np.asarray(picture.landmarks, np.float64)
    if (picture.parsing == _GLASSES).mean() > _WORN:
        return Exposure(None, levels)
    rows, columns = np.mgrid[:size, :size] + 0.5
    found: list[Floats] = []
    for eye, iris in zip(EYES, IRISES, strict=True):
        if eye_openness(points[list(eye)]) < _OPEN:
            continue
        centre, radius = iris_disc(points, iris)
        away = np.hypot(columns - centre[0], rows - centre[1])
        white = (filled(points[list(eye), :2], size, size) > 0.8) & (away > _RIM * radius)
        if white.sum() < _LEAST:
            continue
        colours = lab[white]
        low, high = np.quantile(colours[:, 0], _WHITEST)
        sure = (colours[:, 0] >= low) & (colours[:, 0] <= high)
        found.append(np.asarray(np.median(colours[sure], axis=0), np.float32))
    return Exposure(max(found, key=lambda white: float(white[0]), default=None), levels)


def light_between(source: Exposure, target: Exposure, gap: Floats, lamp: Floats) -> Floats:
    """Of a difference of skin between two photos, what is light.

    Args:
        source: how the source is lit.
        target: how the target is lit.
        gap: (3,) CIELAB of the target's mean skin less the source's.
        lamp: (3,) of it, what is surely the colour of the lights.

    Returns:
        (3,) CIELAB, with the lamp's part.
    """
    rest = gap - lamp
    levels = target.levels - source.levels
    if source.whites is None or target.whites is None:
        light = _BY_SKIN_ALONE * rest
        light[0] += _BY_PHOTO_ALONE @ levels
    else:
        light = _BY_SKIN * rest + _BY_WHITES * (target.whites - source.whites - lamp)
        light[0] += _BY_PHOTO @ levels
    low, high = np.minimum(rest, 0) - _BEYOND, np.maximum(rest, 0) + _BEYOND
    return np.asarray(np.clip(light, low, high) + lamp, np.float32)
