# SPDX-License-Identifier: Apache-2.0
"""Where the faces are: the protocol, and what detectors share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.imaging.warp import Similarity


@dataclass(frozen=True)
class Detection:
    """One face.

    Attributes:
        box: x0, y0, x1, y1 in photo pixels; may reach beyond the photo. For a turned head it is
            the upright square of the same size around the same centre.
        score: the detector's own confidence; higher is surer.
        roll: radians by which the head is turned clockwise in the picture, as far as known.
        keypoints: points (x, y) in photo pixels if the detector gives any: right eye, left eye,
            nose, right and left mouth corner, the person's own sides.
    """

    box: tuple[float, float, float, float]
    score: float
    roll: float = 0.0
    keypoints: tuple[tuple[float, float], ...] | None = None

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box (x, y)."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    @property
    def width(self) -> float:
        """Pixels from left to right."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return self.box[3] - self.box[1]

    @property
    def area(self) -> float:
        """Square pixels of the box."""
        return max(self.width, 0.0) * max(self.height, 0.0)


class Detector(Protocol):
    """Finds faces in a photo."""

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        """All faces of an image (H, W, 3) uint8 RGB, surest first; an empty list if none."""
        ...


class Attempt(NamedTuple):
    """One way to look for faces.

    Attributes:
        sides: longest side in pixels of the pictures that are searched.
        turns: degrees by which heads may be rolled.
        threshold: least score.
        enlarge: whether smaller pictures are enlarged to that side.
    """

    sides: tuple[int, ...]
    turns: tuple[int, ...]
    threshold: float
    enlarge: bool = False

    def scales(self, longest: int) -> list[float]:
        """Different factors for a photo whose longest side is given."""
        factors = {side / longest for side in self.sides}
        return sorted(factors if self.enlarge else {min(f, 1.0) for f in factors})


def suppress(detections: Sequence[Detection], overlap: float = 0.3) -> list[Detection]:
    """Keep the surest of faces that cover each other.

    Args:
        detections: any number.
        overlap: intersection over union, or half of the smaller box, above which two are one.

    Returns:
        The kept ones, surest first.
    """
    kept: list[Detection] = []
    for face in sorted(detections, key=lambda d: -d.score):
        if all(_overlap(face, other) <= overlap for other in kept):
            kept.append(face)
    return kept


def _overlap(one: Detection, two: Detection) -> float:
    width = min(one.box[2], two.box[2]) - max(one.box[0], two.box[0])
    height = min(one.box[3], two.box[3]) - max(one.box[1], two.box[1])
    shared = max(width, 0.0) * max(height, 0.0)
    smaller = max(min(one.area, two.area), 1e-9)
    return max(shared / max(one.area + two.area - shared, 1e-9), 0.5 * shared / smaller)


def turned(
    image: NDArray[np.uint8], scale: float, roll: float
) -> tuple[NDArray[np.uint8], Similarity]:
    """Scale a photo and turn it back by ``roll``, on a canvas that holds all of it."""
    height, width = image.shape[:2]
    small = image
    if scale != 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        small = cv2.resize(image, size, interpolation=how)
    photo_from_small = Similarity.from_parts(scale=width / small.shape[1])
    if roll == 0:
        return np.ascontiguousarray(small), photo_from_small
    turn = Similarity.from_parts(rotation=-roll)
    h, w = small.shape[:2]
    corners = turn.apply(np.array([[0, 0], [w, 0], [w, h], [0, h]], float))
    low, high = corners.min(0), corners.max(0)
    upright_from_small = Similarity.from_parts(
        rotation=-roll, shift=(float(-low[0]), float(-low[1]))
    )
    canvas = (math.ceil(high[0] - low[0] - 1e-6), math.ceil(high[1] - low[1] - 1e-6))
    # cv2 counts pixel centres from 0, we from 0.5
    half = Similarity.from_parts(shift=(0.5, 0.5))
    matrix = half.inverse().compose(upright_from_small).compose(half).matrix
    upright = cv2.warpAffine(small, matrix, canvas, flags=cv2.INTER_LINEAR)
    return upright, photo_from_small.compose(upright_from_small.inverse())
