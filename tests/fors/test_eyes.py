# SPDX-License-Identifier: Apache-2.0
"""Eyes that an edit turns: the iris goes where the landmarks say, whole and behind the lids."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facex.fors.eyes import (
    Look,
    aim_eyes,
    paint_turned_eyes,
    recoloured_eyes,
    turned_irises,
)
from facex.fors.relight import match_light
from facex.geometry.topology import EYES, IRISES

SIZE, RADIUS = 256, 9.0
CENTRES = ((90.0, 120.0), (166.0, 120.0))
SKIN, WHITE, IRIS = (0.7, 0.5, 0.4), (0.95, 0.95, 0.95), (0.2, 0.3, 0.1)


def landmarks(shift: float, height: float = 10.0) -> np.ndarray:
    points = np.zeros((478, 3))
    angles = np.linspace(np.pi, -np.pi, 17)[:16]
    for side, (eye, iris, centre) in enumerate(zip(EYES, IRISES, CENTRES, strict=True)):
        mirror = 1 if side == 0 else -1
        for index, angle in zip(eye, angles, strict=True):
            points[index, :2] = (
                centre[0] + mirror * 22 * np.cos(angle), centre[1] - height * np.sin(angle)
            )  # fmt: skip
        points[iris[0], :2] = (centre[0] + shift, centre[1])
        for index, (u, v) in zip(iris[1:], ((1, 0), (0, -1), (-1, 0), (0, 1)), strict=True):
            points[index, :2] = (centre[0] + shift + RADIUS * u, centre[1] + RADIUS * v)
    return points


def drawn(points: np.ndarray) -> np.ndarray:
    image = np.full((SIZE, SIZE, 3), SKIN, np.float32)
    for eye, iris in zip(EYES, IRISES, strict=True):
        ball = np.full((SIZE, SIZE, 3), WHITE, np.float32)
        middle = tuple(int(v) for v in points[iris[0], :2])
        cv2.circle(ball, middle, int(RADIUS * 1.15), IRIS, -1)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        cv2.fillPoly(mask, [points[list(eye), :2].astype(np.int32)], 1)
        image = np.where(mask[..., None] > 0, ball, image)
    return image


def iris_x(image: np.ndarray, centre: tuple[float, float]) -> float:
    x0 = int(centre[0]) - 24
    part = image[int(centre[1]) - 4 : int(centre[1]) + 5, x0 : x0 + 48].mean(-1)
    weight = np.clip(0.45 - part, 0, None).sum(0)
    return float((weight * (np.arange(48) + x0 + 0.5)).sum() / weight.sum())


@pytest.mark.parametrize("shift", [-7.0, 7.0])
def test_the_iris_goes_where_the_landmarks_say(shift: float) -> None:
    before, after = landmarks(0), landmarks(shift)
    source = drawn(before)
    image, painted = paint_turned_eyes(source, source, before, after)
    for centre in CENTRES:
        assert iris_x(image, centre) - iris_x(source, centre) == pytest.approx(shift, abs=1.0)
        # Where it was there is white now, and nothing beyond the lids changed.
        beside = image[int(centre[1]), int(centre[0] - np.sign(shift) * 7)]
        assert beside.mean() > 0.7
    changed = np.abs(image - source).max(-1) > 1e-6
    assert not changed[painted == 0].any()
    assert not changed[:100].any()


def test_eyes_that_do_not_turn_and_closed_eyes_stay_as_they_are() -> None:
    for height in (10.0, 2.0):
        before, after = landmarks(0, height), landmarks(0 if height > 5 else 7, height)
        source = drawn(before)
        image, _ = paint_turned_eyes(source, source, before, after)
        np.testing.assert_array_equal(image, source)


@pytest.mark.parametrize("height", [4.5, 6.0, 10.0])
def test_irises_of_narrow_eyes_keep_their_colour(height: float) -> None:
    before, after = landmarks(0, height), landmarks(8, height)
    image, _ = paint_turned_eyes(drawn(before), drawn(before), before, after)
    for centre in CENTRES:
        # The lid's shadow may darken it; neither lid nor white may be mixed in.
        np.testing.assert_array_less(
            image[int(centre[1]) + 1, int(centre[0] + 8)], np.add(IRIS, 0.04)
        )


@pytest.mark.parametrize("seen", [0.4, 0.8])
def test_eyes_are_turned_until_they_seem_to_look_where_they_shall(seen: float) -> None:
    """A reader that sees only a part of every turn, as a network does behind narrow lids."""
    source = landmarks(0.0, height=14)
    image = drawn(source)
    wanted = np.array([[0.0, 0.15], [0.0, 0.15]], np.float32)

    def read(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        moved = np.mean([iris_x(picture, c) - c[0] for c in CENTRES])
        straight = iris_x(image, CENTRES[0]) - CENTRES[0][0]
        yaw = seen * (moved - straight) / (2.05 * RADIUS)
        return np.array([[0.0, yaw], [0.0, yaw]], np.float32)

    look = Look(wanted, read)
    turn = aim_eyes(image, image, source, source, look)
    there = turned_irises(source, wanted, turn)
    painted, _ = paint_turned_eyes(image, image, source, there, turn)
    assert abs(read(painted, there)[0, 1] - 0.15) < 0.04
    assert abs(turn[0]) < 0.05


def test_eyes_that_cannot_be_painted_are_not_aimed() -> None:
    shut = landmarks(0.0, height=1.5)
    image = drawn(shut)
    look = Look(np.full((2, 2), 0.3, np.float32), lambda picture, points: np.zeros((2, 2)))
    assert (aim_eyes(image, image, shut, shut, look) == 0).all()


def test_painted_eyes_are_in_the_light_of_the_face_they_come_into() -> None:
    """Eyes as bright as in the source's own photo would glow in a dark one."""
    points = landmarks(0)
    source, place = drawn(points), np.asarray(landmarks(5))
    skin = np.ones((SIZE, SIZE), np.float32)
    colours = match_light(source, skin, 0.4 * source, skin)
    assert colours is not None
    eyes = np.zeros((SIZE, SIZE), np.float32)
    eyes[100:140] = 1
    dark = recoloured_eyes(source, points, colours.at(eyes))
    assert np.array_equal(dark[:70], source[:70])
    painted, where = paint_turned_eyes(0.4 * source, dark, points, place)
    whites = (where > 0.9) & (painted.min(-1) > painted[where > 0.9].mean())
    assert painted[whites].mean() < 0.75 * WHITE[0]
