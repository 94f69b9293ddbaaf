# SPDX-License-Identifier: Apache-2.0
"""The bundled detector: `DetectorNet` on a picture at a few sizes, then again on what it found."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from facex.detect.detector import Attempt, Detection, suppress, turned
from facex.detect.net import STRIDES, DetectorNet, decode
from facex.imaging.warp import Similarity

ATTEMPTS: Final = (
    Attempt((640, 320), (0,), 0.4),
    Attempt((1280,), (0,), 0.4, enlarge=True),
    Attempt((640,), (90, -90, 180), 0.4),
    Attempt((640, 1280), (0,), 0.3, enlarge=True),
)
"""From cheap and sure to dear and doubtful; the first that finds a face ends the search.

Small pictures of large ones find faces that fill them; the network was trained on faces of 14 to
320 pixels. Thresholds are those of the first look: they leave candidates to the second."""
CONFIRMED: Final = 0.6
"""Least mean of the first look and the second ones. Badges, patterned ties and ears score up to .85
when they are small, and much less when they are looked at from near; faces do not."""
_NEAR: Final = (32, 48, 72)
"""Pixels that the face is wide in the pictures of the second look."""
_FIELD: Final = 128
"""Side of those pictures."""
_GREY: Final = (127, 127, 127)
_MULTIPLE: Final = STRIDES[-1]
_MOST: Final = 400
"""Cells that are looked at, surest first."""


class NetDetector:
    """Faces from about 15 pixels to the whole picture, also in profile and turned by any angle.

    Args:
        net: trained weights.
    """

    def __init__(self, net: DetectorNet) -> None:
        self.net = net.eval()

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        """All faces of an image (H, W, 3) uint8 RGB, surest first."""
        longest = max(image.shape[:2])
        for attempt in ATTEMPTS:
            found: list[Detection] = []
            for scale in attempt.scales(longest):
                for turn in attempt.turns:
                    found += self._look(image, scale, math.radians(turn), attempt.threshold)
            sure = [self._confirmed(image, face) for face in suppress(found)]
            if kept := [face for face in sure if face.score >= CONFIRMED]:
                return sorted(kept, key=lambda face: -face.score)
        return []

    @torch.inference_mode()
    def _look(
        self, image: NDArray[np.uint8], scale: float, roll: float, threshold: float
    ) -> list[Detection]:
        upright, photo_from_upright = turned(image, scale, roll)
        height, width = upright.shape[:2]
        spare = (0, -width % _MULTIPLE, 0, -height % _MULTIPLE)
        rows = self._run(F.pad(_pixels(upright[None]), spare))[0]
        rows = rows[rows[:, 0] > threshold]
        rows = rows[rows[:, 0].argsort(descending=True)[:_MOST]]
        return [_to_photo(row, photo_from_upright) for row in rows.double().cpu().numpy()]

    @torch.inference_mode()
    def _confirmed(self, image: NDArray[np.uint8], face: Detection) -> Detection:
        """The face with the mean score of all looks; it counts where its box is found again."""
        views = np.stack([_near_view(image, face, side / face.width) for side in _NEAR])
        scores = [face.score]
        for rows, side in zip(self._run(_pixels(views)), _NEAR, strict=True):
            beside = (rows[:, 1:3] - _FIELD / 2).abs().amax(1) < 0.3 * side
            alike = (rows[:, 3] / side).log().abs() < 0.5
            scores.append(float(rows[beside & alike, 0].amax()))
        return replace(face, score=float(np.mean(scores)))

    def _run(self, pixels: Tensor) -> Tensor:
        levels = self.net(pixels.to(self.net.device))
        return torch.cat([decode(m, s) for m, s in zip(levels, STRIDES, strict=True)], 1)


def _pixels(images: NDArray[np.uint8]) -> Tensor:
    return torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def _near_view(image: NDArray[np.uint8], face: Detection, scale: float) -> NDArray[np.uint8]:
    """A square picture of ``_FIELD`` pixels with the face upright in its middle."""
    radius = math.ceil(_FIELD / scale)
    x, y = (math.floor(v) for v in face.centre)
    height, width = image.shape[:2]
    left, top, right, bottom = x - radius, y - radius, x + radius, y + radius
    part = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    beyond = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
    part = cv2.copyMakeBorder(part, *beyond, cv2.BORDER_CONSTANT, value=_GREY)
    upright, part_from_upright = turned(part, scale, face.roll)
    place = np.array([[face.centre[0] - left, face.centre[1] - top]])
    u, v = (round(float(c)) - _FIELD // 2 for c in part_from_upright.inverse().apply(place)[0])
    return np.ascontiguousarray(upright[v : v + _FIELD, u : u + _FIELD])


def _to_photo(row: NDArray[np.float64], photo_from_upright: Similarity) -> Detection:
    """A row of `decode` in photo pixels."""
    x, y = photo_from_upright.apply(row[1:3])
    half = row[3] * photo_from_upright.scale / 2
    points = photo_from_upright.apply(row[5:].reshape(5, 2))
    box = (float(x - half), float(y - half), float(x + half), float(y + half))
    keypoints = tuple((float(u), float(v)) for u, v in points)
    roll = math.remainder(float(row[4]) + photo_from_upright.rotation, 2 * math.pi)
    return Detection(box, float(row[0]), roll, keypoints)
