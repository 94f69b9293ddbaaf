# SPDX-License-Identifier: Apache-2.0
"""The bundled detector: `DetectorNet` on a picture at a few sizes."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from facex.detect.detector import Attempt, Detection, suppress, turned
from facex.detect.net import STRIDES, DetectorNet, decode
from facex.imaging.warp import Similarity

ATTEMPTS: Final = (
    Attempt((640, 320), (0,), 0.5),
    Attempt((1280,), (0,), 0.5, enlarge=True),
    Attempt((640,), (90, -90, 180), 0.6),
    Attempt((640, 1280), (0,), 0.3, enlarge=True),
)
"""From cheap and sure to dear and doubtful; the first that finds a face ends the search.

Small pictures of large ones find faces that fill them; the network was trained on faces of 14 to
320 pixels, rolled by up to 70 degrees."""
_MULTIPLE: Final = STRIDES[-1]
_MOST: Final = 400
"""Cells that are looked at, surest first."""


class NetDetector:
    """Faces from about 15 pixels to the whole picture, also in profile and rolled.

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
            if found:
                return suppress(found)
        return []

    @torch.inference_mode()
    def _look(
        self, image: NDArray[np.uint8], scale: float, roll: float, threshold: float
    ) -> list[Detection]:
        upright, photo_from_upright = turned(image, scale, roll)
        height, width = upright.shape[:2]
        pixels = torch.from_numpy(upright).permute(2, 0, 1)[None].to(self.net.device).float()
        spare = (0, -width % _MULTIPLE, 0, -height % _MULTIPLE)
        levels = self.net(F.pad(pixels / 127.5 - 1, spare))
        rows = torch.cat([decode(m, s) for m, s in zip(levels, STRIDES, strict=True)], 1)[0]
        rows = rows[rows[:, 0] > threshold]
        rows = rows[rows[:, 0].argsort(descending=True)[:_MOST]]
        return [_to_photo(row, photo_from_upright) for row in rows.double().cpu().numpy()]


def _to_photo(row: NDArray[np.float64], photo_from_upright: Similarity) -> Detection:
    """A row of `decode` in photo pixels."""
    x, y = photo_from_upright.apply(row[1:3])
    half = row[3] * photo_from_upright.scale / 2
    points = photo_from_upright.apply(row[5:].reshape(5, 2))
    box = (float(x - half), float(y - half), float(x + half), float(y + half))
    keypoints = tuple((float(u), float(v)) for u, v in points)
    roll = math.remainder(float(row[4]) + photo_from_upright.rotation, 2 * math.pi)
    return Detection(box, float(row[0]), roll, keypoints)
