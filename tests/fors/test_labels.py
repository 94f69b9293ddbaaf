# SPDX-License-Identifier: Apache-2.0
"""What is too small to be what a parser calls it goes to what is around."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facex.fors.face_picture import FacePicture
from facex.fors.labels import mended, without_specks
from facex.geometry.topology import EYES
from facex.types import PARSING_CLASSES
from tests.fors import made_up

SKIN, HAT, GLASSES, EYE = (
    PARSING_CLASSES.index(name) for name in ("skin", "hat", "eye_g", "l_eye")
)


def face(label: int, sides: list[int]) -> np.ndarray:
    """Skin with squares of a label beside each other."""
    parsing = np.full((256, 256), SKIN, np.uint8)
    for number, side in enumerate(sides):
        parsing[100 : 100 + side, 40 + 60 * number : 40 + 60 * number + side] = label
    return parsing


def test_a_wrinkle_is_no_hat() -> None:
    assert (without_specks(face(HAT, [8])) == SKIN).all()
    assert (without_specks(face(HAT, [30])) == HAT).sum() == 900


def test_a_collar_is_no_hat() -> None:
    for top, kept in ((20, 900), (200, 0)):
        parsing = np.full((256, 256), SKIN, np.uint8)
        parsing[120:150, 120:140] = PARSING_CLASSES.index("nose")
        parsing[top : top + 30, 100:130] = HAT
        assert (without_specks(parsing) == HAT).sum() == kept


def test_shadows_called_glasses_are_none_but_two_lenses_are() -> None:
    assert (without_specks(face(GLASSES, [15])) == SKIN).all()
    assert (without_specks(face(GLASSES, [15, 15])) == GLASSES).sum() == 450


@pytest.mark.parametrize(("lens", "kind"), [(0.1, GLASSES), (0.8, EYE)])
def test_through_dark_lenses_nobody_sees_eyes(lens: float, kind: int) -> None:
    size = 256
    points = made_up.landmarks(size=size)
    parsing = made_up.parsing(points, size)
    image = np.full((size, size, 3), 0.8, np.float32)
    eyes = np.isin(parsing, [PARSING_CLASSES.index(name) for name in ("l_eye", "r_eye")])
    glasses = np.zeros((size, size), np.uint8)
    for eye in EYES:
        middle = tuple(int(x) for x in points[list(eye), :2].mean(0))
        cv2.circle(glasses, middle, 25, 1, -1)
    image[glasses > 0] = lens
    parsing[(glasses > 0) & ~eyes] = GLASSES
    found = mended(parsing, FacePicture(image, points, parsing, size))
    assert ((found == GLASSES)[eyes].mean() > 0.95) == (kind == GLASSES)
    assert (found == GLASSES)[glasses > 0].mean() > 0.8


def test_a_bright_piece_of_a_hat_is_no_skin() -> None:
    size = 256
    points = made_up.landmarks(size=size)
    parsing = made_up.parsing(points, size)
    top = max(int(points[9, 1]) - 8, 30)
    parsing[:top] = HAT
    parsing[top - 25 : top - 5, 100:130] = SKIN
    image = np.full((size, size, 3), 0.8, np.float32)
    found = mended(parsing, FacePicture(image, points, parsing, size))
    assert (found[: top - 4] == HAT).all()
    assert (found[top:] == SKIN).any()


@pytest.mark.parametrize("wall", [0.9, 0.3])
def test_a_bright_wall_between_curls_is_no_hair(wall: float) -> None:
    """One as dark as the hair may be hair."""
    size = 256
    points = made_up.landmarks(size=size)
    parsing = made_up.parsing(points, size)
    hair = parsing == PARSING_CLASSES.index("hair")
    image = np.full((size, size, 3), wall, np.float32)
    image[hair] = 0.25
    rows, columns = np.nonzero(hair & (np.arange(size) < size // 3))
    curl = np.s_[int(rows.mean()) - 6 : int(rows.mean()) + 6, columns.min() : columns.min() + 9]
    image[curl] = wall
    found = mended(parsing, FacePicture(image, points, parsing, size)) == PARSING_CLASSES.index(
        "hair"
    )
    lost = hair & ~found
    assert lost[curl].any() == (wall > 0.5)
    inside = cv2.erode(hair.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    inside[curl] = False
    assert not (lost & inside).any()


@pytest.mark.parametrize("around", ["cloth", "background"])
def test_a_shoulder_among_clothes_is_no_hair(around: str) -> None:
    """A lock before the ground may be one."""
    size, hair, other = 256, PARSING_CLASSES.index("hair"), PARSING_CLASSES.index(around)
    points = made_up.landmarks(size=size)
    parsing = made_up.parsing(points, size)
    top = int(points[[*EYES[0], *EYES[1]], 1].max()) + 10
    lock = np.s_[top + 5 : top + 65, 44:60]
    parsing[top:, :60] = other
    parsing[top:, 60:80] = SKIN
    parsing[lock] = hair
    image = np.full((size, size, 3), 0.25, np.float32)
    found = mended(parsing, FacePicture(image, points, parsing, size))
    assert (found[lock] == (other if around == "cloth" else hair)).all()
