# SPDX-License-Identifier: Apache-2.0
"""Holes for inpainting: boxes, halves, and irregular strokes.

The kinds thin, medium and thick are LaMa's for 256 px pictures (Suvorov et al. 2022, its published
generator and settings): broken lines, or boxes with chance 0.3 to 1, at most half of the picture
hidden. Two things differ: a hole that misses the face is drawn again, because there would be
nothing to measure, and numbers come from NumPy's frozen generator, so that a seed gives the same
hole with every version. Other sizes than 256 px are enlarged from it.
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
class _Lama:
    """LaMa's numbers at 256 px; all ranges are inclusive.

    Attributes:
        strokes: fewest and most; its generator draws one more than its settings say.
        width: how many widths there are, from 5 px up.
        length: how many lengths there are, from 10 px up.
        boxes: fewest and most in place of strokes, or None.
        sides: of a box.
        margin: that boxes keep to the edge.
    """

    strokes: tuple[int, int]
    width: int
    length: int
    boxes: tuple[int, int] | None = None
    sides: tuple[int, int] = (0, 0)
    margin: int = 0


_LAMA: Final = {
    "thin": _Lama((4, 51), 10, 40),
    "medium": _Lama((4, 6), 50, 100, (1, 5), (10, 50)),
    "thick": _Lama((1, 6), 100, 200, (1, 3), (30, 150), margin=10),
}
_LAMA_SIZE: Final = 256
_BOX_CHANCE: Final = 0.3 / 1.3


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
    return _lama(random, size, _LAMA[hole.kind])


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


def _lama(random: np.random.RandomState, size: int, kind: _Lama) -> Mask:
    while True:
        mask = np.zeros((_LAMA_SIZE, _LAMA_SIZE), np.uint8)
        if kind.boxes is not None and random.random_sample() < _BOX_CHANCE:
            for _ in range(_within(random, kind.boxes)):
                width, height = _within(random, kind.sides), _within(random, kind.sides)
                x, y = (
                    random.randint(kind.margin, _LAMA_SIZE - kind.margin - side + 1)
                    for side in (width, height)
                )
                mask[y : y + height, x : x + width] = 1
        else:
            for number in range(_within(random, kind.strokes)):
                _broken_line(random, mask, kind, mirrored=number % 2 == 0)
        if 0 < mask.mean() <= MOST and covered_share(mask) > 0:
            break
    if size == _LAMA_SIZE:
        return mask
    return np.asarray(cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST), np.uint8)


def _broken_line(random: np.random.RandomState, mask: Mask, kind: _Lama, *, mirrored: bool) -> None:
    """One to five pieces, each in one of four directions, which every second line mirrors."""
    x, y = (int(v) for v in random.randint(0, _LAMA_SIZE, 2))
    for _ in range(random.randint(1, 6)):
        angle = 0.01 + int(random.randint(4))
        angle = 2 * math.pi - angle if mirrored else angle
        length, width = 10 + random.randint(kind.length), 5 + int(random.randint(kind.width))
        end_x = min(max(int(x + length * math.sin(angle)), 0), _LAMA_SIZE)
        end_y = min(max(int(y + length * math.cos(angle)), 0), _LAMA_SIZE)
        cv2.line(mask, (x, y), (end_x, end_y), 1, width)
        x, y = end_x, end_y


def _within(random: np.random.RandomState, ends: tuple[int, int]) -> int:
    return int(random.randint(ends[0], ends[1] + 1))


def _stroke(
    random: np.random.RandomState, mask: Mask, longest: float, widest: float, turn: float = 4.0
) -> None:
    """One broken line of one to five pieces, whose direction changes sides from piece to piece."""
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
