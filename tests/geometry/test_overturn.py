# SPDX-License-Identifier: Apache-2.0
"""Faces turned a little further away from how their own photo shows them."""

from __future__ import annotations

import pytest
import torch

from facex.geometry.overturn import KEPT, overturned
from facex.geometry.pose import place
from facex.geometry.shape_model import bundled
from tests.fors import made_up


@pytest.mark.parametrize("yaw", [-20.0, 0.0, 30.0])
def test_a_face_is_turned_on_by_a_share_of_the_difference(yaw: float) -> None:
    result, shown = made_up.geometry(yaw=yaw), made_up.geometry(roll=10.0).rotation
    found = overturned(result, shown)
    before, after = (torch.rad2deg(torch.cat(face.angles)) for face in (result, found))
    expected = before + (before - torch.tensor([0.0, 0.0, 10.0])) * torch.tensor(KEPT)
    torch.testing.assert_close(after, expected, atol=1e-3, rtol=0)
    # Its place stays, and its parts still say where its points are.
    torch.testing.assert_close(found.landmarks.mean(1), result.landmarks.mean(1))
    points = bundled().shape_points(found.shape, found.expression, found.residual)
    torch.testing.assert_close(place(points, found.pose()), found.landmarks, atol=1e-3, rtol=0)


def test_a_face_that_is_turned_as_in_its_photo_stays() -> None:
    result = made_up.geometry(yaw=15.0, roll=5.0)
    found = overturned(result, result.rotation)
    torch.testing.assert_close(found.landmarks, result.landmarks, atol=1e-3, rtol=0)
