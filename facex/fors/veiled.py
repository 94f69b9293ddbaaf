# SPDX-License-Identifier: Apache-2.0
"""Brows and eyes that hair hides: shreds of them on a bare face are worse than a guess."""

from __future__ import annotations

from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.fill import borrow
from facex.fors.lids import lid_area
from facex.fors.mirror import other_half, usable_half
from facex.fors.morphology import disc, pixel_places
from facex.fors.region_masks import Masks, eye_openings
from facex.geometry.band import filled
from facex.geometry.topology import EACH, EYES, GLABELLA, LEFT_BROW, RIGHT_BROW, Sides
from facex.types import PARSING_CLASSES, Region

Floats = NDArray[np.float32]
Points = NDArray[np.floating]


class Veiled(NamedTuple):
    """Features that hair hides in the picture they come from, (right, left) each."""

    brows: Sides = (False, False)
    eyes: Sides = (False, False)

    @property
    def one_brow(self) -> Sides:
        """The brow that the other one can be drawn for."""
        right, left = self.brows
        return (right, left) if right != left else (False, False)

    @property
    def one_sided(self) -> bool:
        """Whether there is anything that the other half of the face can show."""
        return any((*self.one_brow, *self.eyes))

    def area(self, points: Points, size: int) -> Floats:
        """What the other half of the face has to show: ``(S, S)`` in [0, 1].

        Args:
            points: ``(478, 3)`` landmarks in pixels.
            size: S.
        """
        # Where an eye looks is for others to paint: only what is around it is mirrored.
        lids = lid_area(points, size, self.eyes) * (1 - eye_openings(points, size))
        return np.asarray(np.maximum(brow_area(points, size, self.one_brow), lids), np.float32)


NOTHING: Final = Veiled()
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
_TAIL: Final = 0.4
"""Share of a brow, from its outer end, that is its tail."""
_TAIL_LOST: Final = 0.5
"""Share of a tail from which on it is missed; a mask's soft rim and its hairs take .2 of any."""
_TAIL_LEFT: Final = 0.35
"""Share up to which the other brow's tail is good enough to take its place."""
_LIDS_LOST: Final = 0.3
"""The same of the lids of an eye: 8 of 189 faces."""
_LIDS_LEFT: Final = 0.25
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


def lost_tails(parsing: NDArray[np.uint8], points: Points, shown: Floats) -> Sides:
    """Whether the (right, left) brow ends half-way beside hair, and the other one does not.

    Args:
        parsing: ``(S, S)`` class ids.
        points: ``(478, 3)`` landmarks in pixels of the parsing.
        shown: ``(S, S)`` in [0, 1], what is left of the brows.
    """
    size = parsing.shape[0]
    away = np.linalg.norm(pixel_places(size) - np.asarray(points)[GLABELLA, :2], axis=-1)
    named, lost = np.isin(parsing, _CLASSES), []
    for side in EACH:
        brow = named & (brow_area(points, size, side) > 0.5)
        tail = brow & (away > np.quantile(away[brow], 1 - _TAIL)) if brow.any() else brow
        lost.append(1 - float(shown[tail].mean()) if tail.any() else 0.0)
    return _one_lost(lost, _TAIL_LOST, _TAIL_LEFT)


def lost_lids(points: Points, face: Floats) -> Sides:
    """Whether the lids of the (right, left) eye were cut off with hair beside them, of one alone.

    Args:
        points: ``(478, 3)`` landmarks in pixels of the mask.
        face: ``(S, S)`` in [0, 1], what is left of the face and its glasses.
    """
    size, lost = face.shape[0], []
    for side in EACH:
        lids = lid_area(points, size, side) * (1 - eye_openings(points, size))
        lost.append(1 - float((face * lids).sum() / max(float(lids.sum()), 1e-3)))
    return _one_lost(lost, _LIDS_LOST, _LIDS_LEFT)


def _one_lost(shares: list[float], lost: float, left: float) -> Sides:
    """Which of two features misses so much that the other, which does not, takes its place."""
    right, other = shares
    return right > lost and other < left, other > lost and right < left


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


def unveiled_masks(masks: Masks, points: Points, veiled: Veiled) -> None:
    """Give a face the skin, brows and lids of its other half where it is veiled, in place.

    Args:
        masks: of the picture's regions, ``(S, S)`` each.
        points: ``(478, 3)`` landmarks in their pixels.
        veiled: what is hidden of it.
    """
    if not veiled.one_sided:
        return
    area = veiled.area(points, masks[Region.SKIN].shape[0])
    both = (Region.SKIN, Region.BROWS)
    visible, *other = other_half(points, *(masks[region] for region in both))
    # Along its rim what is drawn is mixed with the hair there.
    area = np.clip(4 * area - 3, 0, 1) * visible
    for region, mirrored in zip(both, other, strict=True):
        masks[region] = masks[region] + (mirrored - masks[region]) * area


def unveiled(pixels: Floats, face: Floats, points: Points, veiled: Veiled) -> Floats:
    """A face as if nothing hung over it: what does is drawn from its other half, in its light.

    Args:
        pixels: ``(S, S, 3)`` in [0, 1].
        face: ``(S, S)`` in [0, 1], where they show the face.
        points: ``(478, 3)`` landmarks in pixels.
        veiled: what is hidden of it.
    """
    if not veiled.one_sided:
        return pixels
    area = veiled.area(points, pixels.shape[0])
    other, usable = usable_half(pixels, face, points)
    # What is seen of it gives way: half of a brow beside half of another is none.
    beside = np.asarray(face * (1 - area * usable), np.float32)
    drawn, _ = borrow(pixels, beside, other, usable, 1, match=np.ones_like(face))
    return np.asarray(pixels + (drawn - pixels) * (area * usable)[..., None], np.float32)
