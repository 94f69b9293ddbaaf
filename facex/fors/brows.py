# SPDX-License-Identifier: Apache-2.0
"""Brows that a fringe hides: shreds of them on a bare forehead are worse than a guess."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.fill import borrow
from facex.fors.mirror import TRUST as MIRRORED
from facex.fors.mirror import usable_half
from facex.fors.morphology import disc
from facex.geometry.band import filled
from facex.geometry.topology import LEFT_BROW, RIGHT_BROW
from facex.types import PARSING_CLASSES

Floats = NDArray[np.float32]
Points = NDArray[np.floating]
Sides = tuple[bool, bool]

_LOOPS: Final = (RIGHT_BROW, LEFT_BROW)
_CLASSES: Final = tuple(PARSING_CLASSES.index(name) for name in ("r_brow", "l_brow"))
_HAIR: Final = PARSING_CLASSES.index("hair")
_ABOVE: Final = 0.024
"""Height of the strip above a brow in which hair is looked for, as a share of the side."""
_HIDDEN: Final = 0.42
"""Share of that strip that is hair from which on it falls over the brow.

Of 220 brows of unseen faces, those above .42 were covered, and none below .4 but by a thin lock.
"""
_ROOM: Final = 0.02
"""How far a brow reaches beyond its loop of landmarks, as a share of the side."""


def hidden_brows(parsing: NDArray[np.uint8], points: Points) -> Sides:
    """Whether hair falls over the (right, left) brow of a picture.

    Args:
        parsing: ``(S, S)`` class ids.
        points: ``(478, 3)`` landmarks in pixels of the parsing.
    """
    reach = max(1, round(_ABOVE * parsing.shape[0]))
    upwards = np.zeros((2 * reach + 1,) * 2, np.uint8)
    upwards[reach:, reach] = 1
    named, found = np.isin(parsing, _CLASSES), []
    for loop in _LOOPS:
        inside = (filled(np.asarray(points)[list(loop), :2], *parsing.shape) > 0.5).astype(np.uint8)
        # A fringe may be called a brow, of either side.
        near = cv2.dilate(inside, np.ones((2 * reach + 1,) * 2, np.uint8)) > 0
        brow = np.asarray((named & near) | (inside > 0), np.uint8)
        above = (cv2.dilate(brow, upwards) > 0) & (brow == 0)
        found.append(bool(above.any()) and float((parsing[above] == _HAIR).mean()) > _HIDDEN)
    return found[0], found[1]


def brow_area(points: Points, size: int, sides: Sides) -> Floats:
    """Around the (right, left) brow: ``(S, S)`` in [0, 1].

    Args:
        points: ``(478, 3)`` landmarks in pixels.
        size: S.
        sides: which of them.
    """
    area = np.zeros((size, size), np.float32)
    for wanted, loop in zip(sides, _LOOPS, strict=True):
        if wanted:
            area = np.maximum(area, filled(np.asarray(points)[list(loop), :2], size, size))
    radius = max(1, round(_ROOM * size))
    grown = cv2.GaussianBlur(cv2.dilate(area, disc(radius)), (0, 0), radius / 3)
    return np.asarray(grown, np.float32)


def mirrored_brow(
    image: Floats, known: Floats, points: Points, sides: Sides
) -> tuple[Floats, Floats]:
    """Draw the one brow that is hidden from the other one.

    Args:
        image: ``(S, S, 3)`` in [0, 1].
        known: ``(S, S)`` in [0, 1].
        points: ``(478, 3)`` landmarks of the result in pixels.
        sides: which brows are hidden; nothing is done unless it is one.
    """
    if sides[0] == sides[1]:
        return image, known
    area = brow_area(points, known.shape[0], sides)
    other, usable = usable_half(image, known, points)
    # What was seen of it gives way: half of a brow beside half of another is none.
    beside = np.asarray(known * (1 - area * usable), np.float32)
    drawn, trust = borrow(image, beside, other, usable, MIRRORED, match=np.ones_like(known))
    mixed = image + (drawn - image) * area[..., None]
    return np.asarray(mixed, np.float32), np.asarray(known + (trust - known) * area, np.float32)
