# SPDX-License-Identifier: Apache-2.0
"""Holes for inpainting: boxes, halves, and irregular strokes.

The irregular kinds follow the published description of LaMa's generator for 256 px pictures
(Suvorov et al. 2022): broken lines whose pieces turn about a running direction, and for the medium
and thick kinds boxes instead in three of ten cases; at most half of the picture is hidden. Numbers
are drawn from NumPy's frozen generator, so that a seed gives the same hole with every version.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Mask = NDArray[np.uint8]
HoleKind = Literal["box", "thin", "medium", "thick", "half", "strokes"]

MOST: Final = 0.5
"""Largest share of the picture that the irregular kinds hide."""
FACE: Final = (0.16, 0.22, 0.84, 0.94)
"""Left, top, right and bottom of the face in an FFHQ crop, over its side: where shares count."""


class Hole(BaseModel):
    """What kind of hole a protocol asks for.

    Attributes:
        kind: of the hole.
        share: of the face's box that ``strokes`` hide, within 2 %.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: HoleKind
    share: float | None = Field(default=None, gt=0, lt=1)


@dataclass(frozen=True)
class _Brush:
    """LaMa's numbers at 256 px: strokes, width and length at most, and boxes."""

    strokes: tuple[int, int]
    width: int
    length: int
    boxes: tuple[int, int] | None


_BRUSHES: Final = {
    "thin": _Brush((4, 50), 10, 40, None),
    "medium": _Brush((4, 5), 50, 100, (10, 50)),
    "thick": _Brush((1, 5), 100, 200, (30, 150)),
}
_BOX_CHANCE: Final = 0.3
_BOX_COUNT: Final = (1, 5)


def hole_mask(hole: Hole, size: int, seed: int) -> Mask:
    """Draw a hole.

    Args:
        hole: what kind.
        size: side of the picture in pixels.
        seed: 0 to 2**32 - 1.

    Returns:
        ``(size, size)`` uint8, 1 where the picture is hidden; never empty.
    """
    random = np.random.RandomState(seed)
    if hole.kind == "box":
        return _box(random, size)
    if hole.kind == "half":
        mask = np.zeros((size, size), np.uint8)
        left = bool(random.randint(2))
        mask[:, : size // 2] = 1
        return mask if left else 1 - mask
    if hole.kind == "strokes":
        return _strokes_to_share(random, size, hole.share or 0.25)
    return _irregular(random, size, _BRUSHES[hole.kind])


def covered_share(mask: Mask) -> float:
    """How much of the face's box is hidden, 0 to 1."""
    return float(_face_box(mask).mean())


def _face_box(mask: Mask) -> Mask:
    size = mask.shape[0]
    left, top, right, bottom = (round(v * size) for v in FACE)
    return mask[top:bottom, left:right]


def _box(random: np.random.RandomState, size: int) -> Mask:
    mask = np.zeros((size, size), np.uint8)
    height, width = (random.randint(size // 4, size // 2 + 1) for _ in range(2))
    left, top, right, bottom = (round(v * size) for v in FACE)
    y = random.randint(top, max(bottom - height, top) + 1)
    x = random.randint(left, max(right - width, left) + 1)
    mask[y : y + height, x : x + width] = 1
    return mask


def _irregular(random: np.random.RandomState, size: int, brush: _Brush) -> Mask:
    scale = size / 256
    while True:
        mask = np.zeros((size, size), np.uint8)
        if brush.boxes is not None and random.random_sample() < _BOX_CHANCE:
            low, high = (round(v * scale) for v in brush.boxes)
            for _ in range(random.randint(_BOX_COUNT[0], _BOX_COUNT[1] + 1)):
                height, width = random.randint(low, high + 1, 2)
                y, x = random.randint(0, size - height), random.randint(0, size - width)
                mask[y : y + height, x : x + width] = 1
        else:
            for _ in range(random.randint(brush.strokes[0], brush.strokes[1] + 1)):
                _stroke(random, mask, brush.length * scale, brush.width * scale)
        if 0 < mask.mean() <= MOST and covered_share(mask) > 0:
            return mask


def _stroke(
    random: np.random.RandomState, mask: Mask, longest: float, widest: float, turn: float = 4.0
) -> None:
    """One broken line of one to five pieces; the pen's direction alternates as LaMa's does."""
    size = mask.shape[0]
    x, y = (float(v) for v in random.randint(0, size, 2))
    for piece in range(random.randint(1, 6)):
        angle = 0.01 + random.random_sample() * turn
        if piece % 2 == 0:
            angle = 2 * math.pi - angle
        length = 10 + random.random_sample() * longest
        width = max(2, round(5 + random.random_sample() * max(widest - 5, 1)))
        end_x = min(max(x + length * math.sin(angle), 0), size)
        end_y = min(max(y + length * math.cos(angle), 0), size)
        cv2.line(mask, (round(x), round(y)), (round(end_x), round(end_y)), 1, width, cv2.LINE_8)
        x, y = end_x, end_y


def _strokes_to_share(random: np.random.RandomState, size: int, share: float) -> Mask:
    """Strokes until the asked share of the face's box is hidden; what is too much is not drawn."""
    mask = np.zeros((size, size), np.uint8)
    widest = 0.16 * size
    while covered_share(mask) < share - 0.02:
        trial = mask.copy()
        _stroke(random, trial, 0.3 * size, widest)
        if covered_share(trial) <= share + 0.02:
            mask = trial
        else:
            widest = max(0.03 * size, widest * 0.8)
    return mask
