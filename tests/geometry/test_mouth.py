# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from facex.geometry.mouth import GRID, OPENNESS, draw_mouth, mean_mouths, mouth_grid, mouth_mask
from facex.geometry.topology import LIPS_INNER

SIZE = 200
SKIN = np.array([0.8, 0.6, 0.5], np.float32)


def mouth(height: float, roll: float = 0.0, *, smile: bool = True) -> np.ndarray:
    """Landmarks whose inner lips are 80 px wide, an ellipse or bent to a smile."""
    points = np.zeros((478, 3))
    turn = np.pi - 2 * np.pi * np.arange(len(LIPS_INNER)) / len(LIPS_INNER)
    x, y = 40 * np.cos(turn), -height / 2 * np.sin(turn)
    y = y - smile * height / 2 * (x / 40) ** 2
    c, s = np.cos(roll), np.sin(roll)
    points[list(LIPS_INNER), 0] = SIZE / 2 + c * x - s * y
    points[list(LIPS_INNER), 1] = SIZE / 2 + s * x + c * y
    return points


@pytest.mark.parametrize("height", [10, 40, 64])
def test_openness_is_height_over_width(height: float) -> None:
    grid, openness = mouth_grid(mouth(height))
    assert openness == pytest.approx(height / 80, abs=0.02)
    assert grid.shape == (*GRID, 2)


def test_a_wider_mouth_is_darker_inside() -> None:
    means = mean_mouths()
    assert means.shape == (len(OPENNESS), *GRID, 3)
    middle = means[:, 10:14, 20:28].mean((1, 2, 3))
    assert (np.diff(middle[1:]) < 0).all()


@pytest.mark.parametrize("roll", [0.0, 0.6, -1.2])
def test_the_mouth_turns_with_the_head(roll: float) -> None:
    """Teeth, the brightest part, are above the middle in the head's own frame."""
    points = mouth(40, roll)
    image, mask = draw_mouth(points, SIZE, SKIN), mouth_mask(points, SIZE) > 0.5
    bright = mask & (image[..., 1] > np.quantile(image[..., 1][mask], 0.85))
    rows, columns = np.nonzero(bright)
    offset = np.array([columns.mean(), rows.mean()]) - SIZE / 2
    up = np.array([np.sin(roll), -np.cos(roll)])
    assert offset @ up > 4
    assert abs(offset @ [np.cos(roll), np.sin(roll)]) < 4


def test_teeth_are_bright_and_less_yellow_than_skin() -> None:
    image, mask = draw_mouth(mouth(17), SIZE, SKIN), mouth_mask(mouth(17), SIZE) > 0.5
    teeth = image[mask & (image[..., 1] > np.quantile(image[..., 1][mask], 0.8))].mean(0)
    assert teeth.mean() > SKIN.mean()
    assert teeth[0] / teeth[2] < SKIN[0] / SKIN[2]


def test_a_jaw_that_drops_without_a_smile_shows_less_teeth() -> None:
    smile, dropped = (
        draw_mouth(mouth(24, smile=smile), SIZE, SKIN)[96:104, 90:110].mean()
        for smile in (True, False)
    )
    assert dropped < 0.8 * smile
