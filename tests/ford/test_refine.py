# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from facex.ford.refine import (
    EYE_POINTS,
    EYE_SIZE,
    MOUTH_POINTS,
    MOUTH_SIZE,
    LandmarkRefiner,
    part_frames,
    spread,
    to_image,
    to_patch,
)
from tests.fors import made_up
from tests.tiny import seeded

SIZE = 256


def face(yaw: float = 0.0, roll: float = 0.0) -> torch.Tensor:
    return made_up.geometry(yaw, roll, SIZE).landmarks.float()


@pytest.mark.parametrize("roll", [0.0, 25.0])
def test_places_go_to_the_patch_and_back(roll: float) -> None:
    points = face(10, roll)
    for chosen, frame, size in zip(
        (*EYE_POINTS, MOUTH_POINTS), part_frames(points), (EYE_SIZE, EYE_SIZE, MOUTH_SIZE),
        strict=True,
    ):  # fmt: skip
        places = points[:, list(chosen), :2]
        local = to_patch(places, frame, size)
        assert local.abs().max() < 1  # the part lies in its patch
        torch.testing.assert_close(to_image(local, frame), places, atol=1e-2, rtol=0)


def test_both_eyes_look_alike_to_the_network() -> None:
    """The left eye mirrored is a right eye, point by point."""
    points = face()
    frames = part_frames(points)
    right = to_patch(points[:, list(EYE_POINTS[0]), :2], frames[0], EYE_SIZE)
    left = to_patch(points[:, list(EYE_POINTS[1]), :2], frames[1], EYE_SIZE, flip=True)
    torch.testing.assert_close(right, left, atol=0.03, rtol=0)


@pytest.mark.parametrize("column", [10, 17])
def test_points_are_where_the_heat_maps_are(column: int) -> None:
    """In both eyes, the left one's mirrored."""
    with seeded():
        net = LandmarkRefiner().eval()
    for part in (net.eye, net.mouth):
        part.heat = Constant(column)
    points = face(-15, 5)
    for found in net.parts(torch.zeros(1, 3, SIZE, SIZE), points):
        cells = found.heat.shape[-1]
        across = ((column + 0.5) / cells * 2 - 1) * (-1 if found.mirrored else 1)
        torch.testing.assert_close(
            found.places[..., 0], torch.full_like(found.places[..., 0], across)
        )


class Constant(torch.nn.Module):
    """Heat in one column of every map."""

    def __init__(self, column: int) -> None:
        super().__init__()
        self.column = column

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        points = len(EYE_POINTS[0]) if maps.shape[-1] == EYE_SIZE[1] // 2 else len(MOUTH_POINTS)
        heat = maps.new_zeros(len(maps), points, *maps.shape[-2:])
        heat[..., self.column] = 10
        return heat


def test_a_correction_spreads_to_the_skin_around_and_no_further() -> None:
    points = face()
    moved = torch.zeros(1, 478, 2)
    moved[:, list(MOUTH_POINTS)] = torch.tensor([3.0, 1.0])
    change = spread(moved, points)
    torch.testing.assert_close(change[:, list(MOUTH_POINTS)], moved[:, list(MOUTH_POINTS)])
    assert change[0, 152].norm() < 0.5  # the chin
    assert change[0, 468].norm() == 0  # an iris
    assert ((change.norm(dim=-1) > 1).sum() > len(MOUTH_POINTS) + 5).item()
