# SPDX-License-Identifier: Apache-2.0
"""Brows and eyes under hair: found, left out, replaced by the other one or by the target's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facex.fors.face_picture import FacePicture
from facex.fors.lids import lid_area
from facex.fors.region_assembler import RegionAssembler
from facex.fors.region_masks import region_masks
from facex.fors.trim import trim_face
from facex.fors.veiled import brow_area, hidden_brows, hidden_eyes, lost_lids, lost_tails
from facex.recipes.plan import plan_step
from facex.recipes.schema import Step
from facex.types import PARSING_CLASSES, Region
from tests.fors import made_up
from tests.fors.made_up import SIZE

SKIN, DARK, LIGHT = (0.6, 0.45, 0.35), (0.15, 0.1, 0.08), (0.9, 0.75, 0.6)
HAIR = PARSING_CLASSES.index("hair")
EYE_CLASSES = tuple(PARSING_CLASSES.index(name) for name in ("l_eye", "r_eye"))
BROW_CLASSES = tuple(PARSING_CLASSES.index(name) for name in ("l_brow", "r_brow"))
WHOLE = {"identity": "source", "texture": "source", "regions": {"face": "source"}}


def face(brows: tuple[float, float, float], *, covered: str = "") -> FacePicture:
    """A plain face with brows of a colour; hair falls over the ``left``, the ``right`` or both."""
    picture = made_up.picture(SKIN)
    image, parsing = picture.pixels.copy(), picture.parsing.copy()
    named = parsing == PARSING_CLASSES.index("l_brow")
    image[named] = brows
    half = np.arange(SIZE)[None] < picture.landmarks[9, 0]
    hidden = {"": np.False_, "right": half, "left": ~half, "both": np.True_}[covered]
    above = np.arange(SIZE)[:, None] < picture.landmarks[9, 1]
    parsing[hidden & above & ~named & np.isin(parsing, (1, HAIR))] = HAIR
    return FacePicture(image, picture.landmarks, parsing, SIZE)


def brows_of(source: FacePicture, target: FacePicture) -> list[float]:
    """How bright the right and the left brow of a swap are, 1 being the skin's brightness."""
    plan = plan_step(Step.model_validate(WHOLE))
    pictures = {"target": target, "source": source}
    image = RegionAssembler(pictures, plan, target.landmarks).assemble().image
    named = target.parsing == PARSING_CLASSES.index("l_brow")
    half = np.arange(SIZE)[None] < target.landmarks[9, 0]
    skin = image[target.parsing == PARSING_CLASSES.index("nose")].mean()
    return [float(image[named & side].mean() / skin) for side in (half, ~half)]


@pytest.mark.parametrize("covered", ["", "right", "left", "both"])
def test_hair_over_a_brow_is_seen(covered: str) -> None:
    picture = face(DARK, covered=covered)
    want = covered in ("right", "both"), covered in ("left", "both")
    assert hidden_brows(picture.parsing, picture.landmarks) == want
    area = brow_area(picture.landmarks, SIZE, want)
    assert (area.max() > 0.9) == any(want)


def test_brows_under_a_fringe_are_the_targets() -> None:
    assert min(brows_of(face(LIGHT), face(DARK))) > 1.2
    assert max(brows_of(face(LIGHT, covered="both"), face(DARK))) < 0.6


def test_one_brow_under_a_lock_is_drawn_from_the_other() -> None:
    source = face(LIGHT, covered="right")
    image, half = source.pixels.copy(), np.arange(SIZE)[None] < source.landmarks[9, 0]
    image[(source.parsing == PARSING_CLASSES.index("l_brow")) & ~half] = DARK
    source = FacePicture(image, source.landmarks, source.parsing, SIZE)
    assert max(brows_of(source, face(LIGHT))) < 0.6


def test_a_tail_is_missed_where_the_other_brow_has_one() -> None:
    picture = face(DARK)
    brows = np.asarray(picture.parsing == PARSING_CLASSES.index("l_brow"), np.float32)
    tails = abs(np.arange(SIZE)[None] - picture.landmarks[9, 0]) > 18
    left = np.arange(SIZE)[None] > picture.landmarks[9, 0]
    args = picture.parsing, picture.landmarks
    assert lost_tails(*args, brows) == (False, False)
    assert lost_tails(*args, brows * ~(tails & left)) == (False, True)
    assert lost_tails(*args, brows * ~(tails & ~left)) == (True, False)
    assert lost_tails(*args, brows * ~tails) == (False, False)


@pytest.mark.parametrize("yaw", [0.0, -20.0])
def test_half_of_a_brow_is_drawn_from_the_other_of_a_turned_face_too(yaw: float) -> None:
    source = face(DARK)
    image, parsing = source.pixels.copy(), source.parsing.copy()
    outer = np.arange(SIZE)[None] > np.asarray(source.landmarks)[336, 0] + 9
    hair = outer & (np.arange(SIZE)[:, None] < source.landmarks[263, 1] - 2)
    image[hair], parsing[hair] = LIGHT, HAIR
    source = FacePicture(image, source.landmarks, parsing, SIZE)
    points = made_up.landmarks(yaw)
    target = made_up.picture(SKIN, points)
    plan = plan_step(Step.model_validate(WHOLE))
    pictures = {"target": target, "source": source}
    drawn = RegionAssembler(pictures, plan, points).assemble().image
    tail = brow_area(points, SIZE, (False, True)) > 0.9
    tail &= target.parsing == PARSING_CLASSES.index("l_brow")
    tail &= np.arange(SIZE)[None] > points[336, 0] + 11
    assert tail.any()
    assert np.median(drawn[tail].mean(-1)) < 0.6 * np.mean(SKIN)


def one_eyed(*, covered: bool) -> FacePicture:
    """A plain face with dark lids; light hair hangs over the left half of it from the side."""
    picture = made_up.picture(SKIN)
    image, parsing, points = picture.pixels.copy(), picture.parsing.copy(), picture.landmarks
    image[lid_area(points, SIZE) > 0.5] = DARK
    image[np.isin(parsing, EYE_CLASSES)] = (0.95, 0.95, 0.95)
    if covered:
        aside = np.arange(SIZE)[None] > points[473, 0]
        hair = aside & np.isin(parsing, (1, HAIR, *EYE_CLASSES, PARSING_CLASSES.index("l_brow")))
        image[hair], parsing[hair] = LIGHT, HAIR
    return FacePicture(image, points, parsing, SIZE)


def test_half_of_an_eye_is_none() -> None:
    target = made_up.picture(SKIN)
    whole, half = one_eyed(covered=False), one_eyed(covered=True)
    assert hidden_eyes(whole.parsing, whole.landmarks) == (False, False)
    assert hidden_eyes(half.parsing, half.landmarks) == (False, True)
    assert hidden_brows(half.parsing, half.landmarks) == (False, True)
    plan = plan_step(Step.model_validate(WHOLE))
    lids = lid_area(target.landmarks, SIZE, (False, True)) > 0.9
    lids &= ~np.isin(target.parsing, EYE_CLASSES)
    for source in (whole, half):
        pictures = {"target": target, "source": source}
        image = RegionAssembler(pictures, plan, target.landmarks).assemble().image
        assert image[lids].mean() < 0.6 * np.mean(SKIN)


def test_lids_are_missed_where_the_other_eye_has_some() -> None:
    points = made_up.landmarks()
    whole = np.ones((SIZE, SIZE), np.float32)
    left = np.asarray(np.arange(SIZE)[None] > points[9, 0]) * whole
    assert lost_lids(points, whole) == (False, False)
    assert lost_lids(points, 1 - left) == (False, True)
    assert lost_lids(points, left) == (True, False)
    assert lost_lids(points, 0 * whole) == (False, False)


def test_lids_as_dark_as_the_hair_beside_are_no_hair() -> None:
    picture = made_up.picture(SKIN)
    image, parsing, points = picture.pixels.copy(), picture.parsing.copy(), picture.landmarks
    lids = lid_area(points, SIZE, (False, True)) > 0.5
    image[lids | (parsing == HAIR)] = DARK
    # Hair comes down to the eye from the side.
    beside = np.arange(SIZE)[None] > points[263, 0] + 4
    hair = beside & (np.arange(SIZE)[:, None] < points[263, 1] + 12) & ~lids & (parsing == 1)
    image[hair], parsing[hair] = DARK, HAIR
    picture = FacePicture(image, points, parsing, SIZE)
    masks = region_masks(picture)
    trim_face(masks, picture)
    inside = lids & ~np.isin(parsing, EYE_CLASSES) & ~np.isin(parsing, BROW_CLASSES)
    assert (masks[Region.SKIN][inside] > 0.5).mean() > 0.88


def test_brows_that_go_leave_no_outline() -> None:
    target, source = face(DARK), face(SKIN)
    named = (target.parsing == PARSING_CLASSES.index("l_brow")).astype(np.uint8)
    rim = (cv2.dilate(named, np.ones((3, 3), np.uint8)) > 0) & (target.parsing == 1)
    image = target.pixels.copy()
    image[rim] = DARK
    target = FacePicture(image, target.landmarks, target.parsing, SIZE)
    plan = plan_step(Step.model_validate({"regions": {"brows": "source"}}))
    pictures = {"target": target, "source": source}
    image = RegionAssembler(pictures, plan, target.landmarks).assemble().image
    assert np.median(image[rim].mean(-1)) > 0.6 * np.mean(SKIN)
