# SPDX-License-Identifier: Apache-2.0
"""Holes as people make them: brush strokes, boxes, half of a picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def random_hole(rng: np.random.Generator, size: int, share: float = 1.0) -> NDArray[np.float32]:
    """A mask of brush strokes, boxes or half of the picture, 1 inside."""
    mask = np.zeros((size, size), np.uint8)
    kind = rng.random()
    if kind < 0.35:
        height, width = (rng.uniform(0.15, 0.55, 2) * size * share).astype(int)
        y, x = rng.integers(0, size - height), rng.integers(0, size - width)
        mask[y : y + height, x : x + width] = 1
    elif kind < 0.45 and share == 1.0:
        half = size // 2
        mask[:, :half] = 1
        mask = np.rot90(mask, int(rng.integers(4))).copy()
    else:
        for _ in range(int(rng.integers(1, 5))):
            points = (rng.uniform(0.1, 0.9, (int(rng.integers(2, 6)), 2)) * size).astype(np.int32)
            width = int(rng.uniform(0.03, 0.18) * size * share)
            cv2.polylines(mask, [points], False, 1, max(2, width), cv2.LINE_8)
    return mask.astype(np.float32)
