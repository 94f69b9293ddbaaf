# SPDX-License-Identifier: Apache-2.0
"""Light or complexion: whites of eyes and the photo as a whole tell more than skin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facex.fors.exposure import Exposure, exposure_of, light_between
from facex.fors.face_picture import FacePicture
from facex.geometry.topology import EYES
from facex.types import PARSING_CLASSES
from tests.fors import made_up
from tests.fors.made_up import SIZE

NONE = np.zeros(3, np.float32)
LIT = Exposure(np.array([80, 2, 5], np.float32), np.array([90, 60], np.float32))


def seen(light: float) -> FacePicture:
    """A face whose eyes are white, under a light of so much of the full."""
    points, label = made_up.landmarks(), made_up.parsing(made_up.landmarks())
    image = np.full((SIZE, SIZE, 3), 0.5 * light, np.float32)
    for eye in EYES:
        x, y = points[list(eye), :2].mean(0)
        image[round(y) - 6 : round(y) + 6, round(x) - 12 : round(x) + 12] = 0.9 * light
    return FacePicture(image, points, label, SIZE)


def test_whites_are_read_between_the_lids() -> None:
    for light in (1.0, 0.4):
        whites = exposure_of(seen(light)).whites
        assert whites is not None
        grey = exposure_of(seen(light)).levels[1]
        assert whites[0] > grey + 8
        assert abs(whites[1:]).max() < 2
    shut = seen(1.0)
    points = np.asarray(shut.landmarks).copy()
    for eye in EYES:
        points[list(eye), 1] = points[list(eye), 1].mean()
    assert exposure_of(replace(shut, landmarks=points)).whites is None
    worn = shut.parsing.copy()
    worn[58:66, 36:92] = PARSING_CLASSES.index("eye_g")
    assert exposure_of(replace(shut, parsing=worn)).whites is None, "glasses mirror the sky"


@pytest.mark.parametrize("whites", [True, False])
def test_equal_light_leaves_most_of_a_difference_to_complexion(whites: bool) -> None:
    lit = LIT if whites else Exposure(None, LIT.levels)
    gap = np.array([30, -6, 8], np.float32)
    light = light_between(lit, lit, gap, NONE)
    assert (np.abs(light) < 0.5 * np.abs(gap)).all()
    assert (light * gap > 0).all()


def test_what_all_of_a_photo_says_is_light() -> None:
    gap = np.array([-30, 0, 10], np.float32)
    dim = Exposure(LIT.whites + gap, LIT.levels - 30)
    light = light_between(LIT, dim, gap, NONE)
    assert light[0] < 0.6 * gap[0]
    assert light[2] > 0.7 * gap[2]
    assert light_between(LIT, LIT, NONE, NONE) == pytest.approx(NONE)


def test_a_coloured_lamp_is_light_in_full() -> None:
    lamp = np.array([0, -20, 25], np.float32)
    tinted = Exposure(LIT.whites + lamp, LIT.levels)
    assert light_between(LIT, tinted, lamp, lamp) == pytest.approx(lamp, abs=1e-4)
