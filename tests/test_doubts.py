# SPDX-License-Identifier: Apache-2.0
"""What is said about a photo that will not do well as a source."""

from __future__ import annotations

import numpy as np
import torch

from facex.doubts import hidden, too_small, turned_away, turned_far
from facex.fors.face_picture import FacePicture
from facex.geometry.pose import rotation_from_euler
from facex.geometry.topology import EYES, region_polygon_mask
from facex.types import PARSING_CLASSES
from tests.fors import made_up
from tests.fors.made_up import SIZE


def turn(yaw: float) -> torch.Tensor:
    angles = torch.deg2rad(torch.tensor([yaw, 0.0, 0.0]))
    return rotation_from_euler(*angles[:, None])[0]


def test_a_head_turned_far_from_the_result_s_is_doubted() -> None:
    for yaw in (50.0, -50.0):
        (said,) = turned_away(turn(yaw), turn(0.0), "a.jpg")
        assert "a.jpg" in said
        assert "35 degrees" in said
        assert not turned_away(turn(yaw), turn(yaw - 10), "a.jpg")
        assert not turned_away(turn(0.0), turn(yaw), "a.jpg"), "a frontal photo shows both halves"


def test_a_driver_that_faces_too_far_away_is_doubted() -> None:
    (said,) = turned_far(turn(30.0), turn(-20.0), "d.jpg")
    assert "d.jpg" in said
    assert "35 degrees" in said
    assert not turned_far(turn(15.0), turn(-15.0), "d.jpg")


def test_dark_glasses_and_things_before_a_face_are_doubted() -> None:
    face = made_up.picture()
    assert not hidden(face, "a.jpg")
    labels = face.parsing.copy()
    for eye in EYES:
        x, y = face.landmarks[list(eye), :2].mean(0)
        rows, columns = np.mgrid[:SIZE, :SIZE]
        labels[np.hypot(rows - y, columns - x) < 11] = PARSING_CLASSES.index("eye_g")
    dark = FacePicture(face.image, face.landmarks, labels, SIZE)
    assert ["glasses" in said for said in hidden(dark, "a.jpg")] == [True]
    held = face.parsing.copy()
    mouth = region_polygon_mask(face.landmarks, "lips", SIZE)
    rows, columns = np.nonzero(mouth)
    held[rows.min() - 4 : rows.max() + 4, columns.min() - 4 : columns.max() + 4] = 0
    before = FacePicture(face.image, face.landmarks, held, SIZE)
    assert ["before the face" in said for said in hidden(before, "a.jpg")] == [True]


def test_a_small_source_of_a_large_result_is_doubted() -> None:
    (said,) = too_small(100, 600, "a.jpg")
    assert "50 across" in said
    assert not too_small(100, 120, "a.jpg")
    assert not too_small(300, 2000, "a.jpg")
