# SPDX-License-Identifier: Apache-2.0
"""What a head uncovers below its ear, when it turns, is its neck and not the wall behind it."""

from __future__ import annotations

import numpy as np
import pytest

from facex.fors.neck import fill_neck, neck_column
from facex.fors.region_assembler import RegionAssembler
from facex.geometry.topology import region_polygon_mask
from facex.recipes.plan import plan_step
from facex.recipes.schema import Step
from facex.types import PARSING_CLASSES
from tests.fors import made_up

SIZE = made_up.SIZE
NECK = PARSING_CLASSES.index("neck")
NO_SKIN = [PARSING_CLASSES.index(name) for name in ("background", "cloth")]
SKIN, WALL = np.float32([0.7, 0.5, 0.4]), np.float32([0.9, 0.95, 1.0])


def test_a_neck_goes_on_behind_the_head_as_broad_as_it_is_seen() -> None:
    points = made_up.landmarks()
    chin, lobe = round(points[152, 1]), points[93, 1]
    jaw = points[[172, 136], 0].mean()
    for off in (-4, 3):
        neck = np.zeros((SIZE, SIZE), np.float32)
        neck[chin - 10 : chin + 20, round(jaw + off) : SIZE // 2] = 1
        column = neck_column(points, neck, points)
        row = column[chin - 12]
        assert np.flatnonzero(row > 0.5)[0] == pytest.approx(jaw + off, abs=1.5)
        assert column[: int(lobe) - 6].max() < 0.05


def test_where_a_collar_hides_it_there_is_none_below_the_chin() -> None:
    points = made_up.landmarks()
    column = neck_column(points, np.zeros((SIZE, SIZE), np.float32), points)
    middle, chin = SIZE // 2, round(points[152, 1])
    assert column[round(points[172, 1]) - 4, middle] > 0.9
    assert column[chin + 6 :].max() < 0.05


def test_colours_are_the_necks_own_or_the_faces_in_shade() -> None:
    image = np.broadcast_to(WALL, (SIZE, SIZE, 3)).copy()
    neck, skin = (np.zeros((SIZE, SIZE), np.float32) for _ in range(2))
    image[:40], skin[:40] = SKIN, 1
    assert (fill_neck(image, neck, skin)[60, 60] < SKIN).all()
    image[90:], neck[90:] = SKIN * 0.9, 1
    assert fill_neck(image, neck, skin)[60, 60] == pytest.approx(SKIN * 0.9, abs=0.01)


def test_a_turned_head_shows_its_neck() -> None:
    points, turned = made_up.landmarks(), made_up.landmarks(yaw=25)
    head = made_up.picture(SKIN, points)
    image = np.where(np.isin(head.parsing, NO_SKIN)[..., None], WALL, SKIN)
    target = made_up.picture(np.asarray(image, np.float32), points)
    plan = plan_step(Step(pose="driver"))
    found = RegionAssembler({"target": target}, plan, turned).assemble()
    before, after = (region_polygon_mask(p, "face", SIZE) > 0 for p in (points, turned))
    column = neck_column(points, np.asarray(target.parsing == NECK, np.float32), turned)
    bare = before & ~after & (column > 0.95) & (found.known < 0.6)
    assert bare.sum() > 10
    colours = found.image[bare]
    assert np.mean(abs(colours - SKIN).max(-1) < abs(colours - WALL).max(-1)) > 0.9
