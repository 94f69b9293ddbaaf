# SPDX-License-Identifier: Apache-2.0
"""Narrow eyes cannot fill wide lids, however the head is turned; lent ones keep their colour."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facex.fors.face_picture import FacePicture
from facex.fors.lent_eyes import behind_glass, lacks_eyes, murky_eyes, with_irises_of
from facex.geometry.topology import EYES, IRISES
from facex.geometry.visibility import iris_disc
from facex.types import PARSING_CLASSES
from tests.fors import made_up


def narrowed(points: np.ndarray, share: float) -> np.ndarray:
    """Landmarks whose lids are opened by a share of what they were."""
    result = points.copy()
    for eye in EYES:
        ring = list(eye)
        middle = points[ring, 1].mean()
        result[ring, 1] = middle + share * (points[ring, 1] - middle)
    return result


@pytest.mark.parametrize("yaw", [0.0, 40.0, -40.0])
def test_eyes_are_lacking_where_lids_hide_them(yaw: float) -> None:
    place, source = made_up.landmarks(), made_up.landmarks(yaw)
    assert not lacks_eyes(source, place)
    assert lacks_eyes(narrowed(source, 0.5), place)
    assert not lacks_eyes(narrowed(source, 0.5), narrowed(place, 0.5))


def eyes_of(colour: tuple[float, float, float]) -> np.ndarray:
    """A pale face whose irises have a colour, with black pupils."""
    points = made_up.landmarks(size=256)
    image = np.full((256, 256, 3), 0.7, np.float32)
    for iris in IRISES:
        centre, radius = iris_disc(points, iris)
        rows, columns = np.ogrid[:256, :256]
        away = np.hypot(columns + 0.5 - centre[0], rows + 0.5 - centre[1]) / radius
        image[away < 1] = colour
        image[away < 0.35] = 0
    return image


def test_lent_eyes_have_the_irises_of_the_source() -> None:
    points = made_up.landmarks(size=256)
    blue, brown = eyes_of((0.3, 0.4, 0.5)), eyes_of((0.3, 0.2, 0.1))
    found = with_irises_of(blue, points, brown, points)
    centre, radius = iris_disc(points, IRISES[0])
    x, y = int(centre[0]), int(centre[1])
    np.testing.assert_allclose(found[y, x + round(0.65 * radius)], (0.3, 0.2, 0.2), atol=0.02)
    assert found[y, x].max() < 0.01
    np.testing.assert_array_equal(found[:40], blue[:40])


def with_whites(brightness: float) -> FacePicture:
    """A picture whose eyes are of one brightness, on skin of .7."""
    picture = made_up.picture()
    image = np.full((*picture.parsing.shape, 3), 0.7, np.float32)
    image[np.isin(picture.parsing, EYE_CLASSES)] = brightness
    return replace(picture, image=image)


def test_whites_in_deep_shade_are_murky_unless_the_target_s_are_too() -> None:
    dark, light = with_whites(0.15), with_whites(0.6)
    assert murky_eyes(dark, light)
    assert not murky_eyes(light, dark)
    assert not murky_eyes(dark, dark)


def test_no_eyes_are_lent_behind_dark_glasses() -> None:
    picture = made_up.picture()
    assert not behind_glass(picture)
    picture.parsing[np.isin(picture.parsing, EYE_CLASSES)] = PARSING_CLASSES.index("eye_g")
    assert behind_glass(picture)


EYE_CLASSES = [PARSING_CLASSES.index(name) for name in ("l_eye", "r_eye")]
