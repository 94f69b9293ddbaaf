# SPDX-License-Identifier: Apache-2.0
"""Holes as people make them: brush strokes, scratches, boxes, half of a picture."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

_FINE: Final = 0.6
"""Share of brushed holes that are strokes, of any width; the others are `random_hole`'s."""
_WIDTHS: Final = (0.012, 0.16)
"""Thinnest and broadest stroke, as shares of the side."""
_MOST: Final = 0.5
"""Largest share of the picture that strokes hide."""


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


def brushed_hole(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """As :func:`random_hole`, and strokes of every width: many scratches, or a few broad lines."""
    if rng.random() >= _FINE:
        return random_hole(rng, size)
    mask = np.zeros((size, size), np.uint8)
    thin, broad = np.log(_WIDTHS)
    typical = float(np.exp(rng.uniform(thin, broad)))
    for _ in range(int(rng.integers(2, 3 + round(0.7 / typical)))):
        trial, width = mask.copy(), max(2, round(typical * size * rng.uniform(0.6, 1.4)))
        place = rng.uniform(0, size, 2)
        for _ in range(int(rng.integers(1, 6))):
            reach = rng.normal(0, 1, 2) * (0.06 * size + width)
            begin, place = place.astype(int).tolist(), np.clip(place + reach, 0, size)
            cv2.line(trial, begin, place.astype(int).tolist(), 1, width)
        if trial.mean() > _MOST:
            break
        mask = trial
    return mask.astype(np.float32)
