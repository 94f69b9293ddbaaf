# SPDX-License-Identifier: Apache-2.0
"""A lamp on one side goes, and what both sides share stays."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from facex.fors.even_light import EvenLight, side_light
from facex.fors.face_picture import FacePicture
from tests.fors import made_up

SIZE = made_up.SIZE
ACROSS = np.linspace(-1, 1, SIZE, dtype=np.float32)[None, :, None]
"""From the picture's left to its right; the middle of the face is in the middle."""


def lit(strength: float) -> FacePicture:
    """A face with dark cheeks and chin, lit from the right."""
    points = made_up.landmarks()
    down = np.linspace(1, 0.7, SIZE, dtype=np.float32)[:, None, None]
    own = np.float32(0.5) * down * (1 - 0.2 * np.abs(ACROSS)) * np.ones(3, np.float32)
    image = own * np.exp(strength * ACROSS)
    return FacePicture(np.asarray(image, np.float32), points, made_up.parsing(points), SIZE)


def cheeks(image: NDArray[np.floating]) -> tuple[float, float]:
    row, half = SIZE // 2 + 4, SIZE // 2
    return float(image[row, half - 22].mean()), float(image[row, half + 22].mean())


@pytest.mark.parametrize("strength", [0.6, -0.6])
def test_light_from_one_side_is_taken_off(strength: float) -> None:
    picture = lit(strength)
    before, after = (np.log(np.divide(*cheeks(x))) for x in (picture.pixels, evened(picture)))
    assert abs(before) > 0.3
    assert abs(after) < 0.4 * abs(before)


def evened(picture: FacePicture) -> NDArray[np.float32]:
    return EvenLight().pixels("source", picture)


def test_a_face_in_even_light_and_all_that_is_no_face_stay() -> None:
    even = lit(0.0)
    assert evened(even) == pytest.approx(even.pixels, abs=2e-3)
    side = side_light(lit(0.6))
    assert side[4, 4] == pytest.approx(1)


def test_a_hue_that_clothes_throw_on_a_jaw_goes_and_lightness_stays() -> None:
    picture = lit(0.0)
    skin = picture.pixels * np.float32([1.1, 0.85, 0.75])
    thrown = np.ones_like(skin)
    thrown[SIZE // 2 + 10 :] = [0.7, 0.9, 1.6]
    plain, blue = (
        FacePicture(np.clip(x, 0, 1), picture.landmarks, picture.parsing, SIZE)
        for x in (skin, skin * thrown)
    )
    place = (slice(SIZE // 2 + 16, SIZE // 2 + 22), slice(SIZE // 2 - 4, SIZE // 2 + 5))
    before, after = (x[place].mean((0, 1)) for x in (blue.pixels, evened(blue)))
    assert before[2] > 1.3 * before[0]
    assert after[2] < 1.02 * after[0]
    assert after.mean() == pytest.approx(before.mean(), rel=0.15)
    assert evened(plain) == pytest.approx(plain.pixels, abs=2e-3)


def test_another_size_gets_the_light_that_was_found() -> None:
    small, large = EvenLight(), EvenLight()
    small.pixels("source", lit(0.6))
    large.sides.update(small.sides)
    picture = lit(0.6)
    doubled = FacePicture(
        np.repeat(np.repeat(picture.pixels, 2, 0), 2, 1), picture.landmarks, picture.parsing, SIZE
    )
    found = large.pixels("source", doubled)[::2, ::2]
    assert found == pytest.approx(small.pixels("source", picture), abs=0.02)
