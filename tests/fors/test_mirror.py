# SPDX-License-Identifier: Apache-2.0
"""Holes in faces, filled from the other half: right on symmetric ones, silent where both miss."""

from __future__ import annotations

import numpy as np
import pytest

from facex.fors.mirror import TRUST, fill_from_other_half, flipped, sharper
from facex.geometry.texture_map import mesh_warp
from tests.fors import made_up

SIZE = made_up.SIZE


def symmetric(yaw: float) -> np.ndarray:
    """A pattern on the mean face that is the same on both sides, in its own light."""
    points = made_up.landmarks(0.0)
    columns = np.arange(SIZE) + 0.5
    distance = np.abs(columns - points[:468, 0].mean()) / SIZE
    image = np.ones((SIZE, SIZE, 3), np.float32) * 0.5
    image += 0.3 * np.cos(distance * 60)[None, :, None].astype(np.float32)
    return image.astype(np.float32)


def test_a_hole_shows_the_other_half() -> None:
    points = made_up.landmarks(0.0)
    image = symmetric(0.0)
    middle = round(float(points[:468, 0].mean()))
    known = np.ones((SIZE, SIZE), np.float32)
    known[45:75, middle + 6 : middle + 24] = 0
    damaged = image * known[..., None]
    found, trust = fill_from_other_half(damaged, known, points)
    hole = known == 0
    assert trust[hole].mean() == pytest.approx(TRUST, abs=0.05)
    assert np.abs(found - image)[hole].mean() < 0.06
    assert np.array_equal(found[~hole], damaged[~hole])


def test_both_halves_missing_stay_missing() -> None:
    known = np.ones((SIZE, SIZE), np.float32)
    known[40:80] = 0
    image = symmetric(0.0)
    found, trust = fill_from_other_half(image, known, made_up.landmarks(0.0))
    assert trust[45:75].max() == 0
    assert np.array_equal(found, image)


def test_a_face_that_is_whole_stays_as_it_is() -> None:
    image = symmetric(0.0)
    found, _ = fill_from_other_half(image, np.ones((SIZE, SIZE), np.float32), made_up.landmarks())
    assert found is image


@pytest.mark.parametrize("yaw", [50.0, -50.0])
def test_the_far_half_of_a_turned_face_comes_from_the_near_one(yaw: float) -> None:
    """Its own few pixels would be drawn out; a face that is turned little keeps both halves."""
    place = made_up.landmarks(0.0)
    for turn in (yaw, yaw / 5):
        points = made_up.landmarks(turn)
        own = mesh_warp(points, place, SIZE)
        kept = sharper(own, mesh_warp(flipped(points, SIZE), place, SIZE, extend=False))
        far, near = sorted(float(kept[round(y), round(x)]) for x, y in place[[468, 473], :2])
        assert near > 0.99
        assert far < 0.3 if turn == yaw else far > 0.99
