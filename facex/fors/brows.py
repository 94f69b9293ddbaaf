# SPDX-License-Identifier: Apache-2.0
"""Brows and eyes that hair hides: shreds of them on a bare face are worse than a guess."""

from __future__ import annotations

from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.fill import borrow
from facex.fors.lids import lid_area
from facex.fors.mirror import TRUST as MIRRORED
from facex.fors.mirror import usable_half
from facex.fors.morphology import disc
from facex.fors.region_masks import eye_openings
from facex.geometry.band import filled
from facex.geometry.topology import EYES, LEFT_BROW, RIGHT_BROW, Sides
from facex.types import PARSING_CLASSES

Floats = NDArray[np.float32]
Points = NDArray[np.floating]


class Veiled(NamedTuple):
    """Features that hair hides in the picture they come from, (right, left) each."""

    brows: Sides = (False, False)
    eyes: Sides = (False, False)


_LOOPS: Final = (RIGHT_BROW, LEFT_BROW)
_CLASSES: Final = tuple(PARSING_CLASSES.index(name) for name in ("r_brow", "l_brow"))
_HAIR: Final = PARSING_CLASSES.index("hair")
_ABOVE: Final = 0.024
"""Height of the strip above a brow in which hair is looked for, as a share of the side."""
_HIDDEN: Final = 0.42
"""Share of that strip that is hair from which on it falls over the brow.

Of 220 brows of unseen faces, those above .42 were covered, and none below .4 but by a thin lock.
"""
_COVERED: Final = 0.25
"""Share of the brow itself: hair from the side leaves half of it, which is none."""
_EYE_COVERED: Final = 0.12
"""Share of an eye between the lids from which hair before it hides it."""
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
        falls = bool(above.any()) and float((parsing[above] == _HAIR).mean()) > _HIDDEN
        found.append(falls or _share_of_hair(parsing, inside > 0) > _COVERED)
    return found[0], found[1]


def hidden_eyes(parsing: NDArray[np.uint8], points: Points) -> Sides:
    """Whether hair hides part of the (right, left) eye of a picture; not if it hides both.

    Args:
        parsing: ``(S, S)`` class ids.
        points: ``(478, 3)`` landmarks in pixels of the parsing.
    """
    right, left = (
        _share_of_hair(parsing, filled(np.asarray(points)[list(eye), :2], *parsing.shape) > 0.5)
        > _EYE_COVERED
        for eye in EYES
    )
    return right and not left, left and not right


def _share_of_hair(parsing: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    return float((parsing[where] == _HAIR).mean()) if where.any() else 0.0


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


def mirrored_features(
    image: Floats, known: Floats, points: Points, veiled: Veiled
) -> tuple[Floats, Floats]:
    """Draw the one brow that is hidden, and the lids of the one eye, from the other half.

    Args:
        image: ``(S, S, 3)`` in [0, 1].
        known: ``(S, S)`` in [0, 1].
        points: ``(478, 3)`` landmarks of the result in pixels.
        veiled: what is hidden; nothing is done where both sides are.
    """
    size = known.shape[0]
    if veiled.brows[0] != veiled.brows[1]:
        image, known = _mirrored(image, known, points, brow_area(points, size, veiled.brows))
    if veiled.eyes[0] != veiled.eyes[1]:
        # The eyes look where they shall already: only what is around them is mirrored.
        lids = lid_area(points, size, veiled.eyes) * (1 - eye_openings(points, size))
        image, known = _mirrored(image, known, points, np.asarray(lids, np.float32))
    return image, known


def _mirrored(image: Floats, known: Floats, points: Points, area: Floats) -> tuple[Floats, Floats]:
    other, usable = usable_half(image, known, points)
    # What was seen of it gives way: half of a brow beside half of another is none.
    beside = np.asarray(known * (1 - area * usable), np.float32)
    drawn, trust = borrow(image, beside, other, usable, MIRRORED, match=np.ones_like(known))
    mixed = image + (drawn - image) * area[..., None]
    return np.asarray(mixed, np.float32), np.asarray(known + (trust - known) * area, np.float32)
