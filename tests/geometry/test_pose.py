# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch

from facex.geometry.pose import (
    Pose,
    euler_from_rotation,
    fit_pose,
    place,
    rotation_from_euler,
    unplace,
)


def random_pose(count: int) -> Pose:
    angles = (torch.rand(3, count) - 0.5) * torch.tensor([[2.4], [1.6], [2.0]])
    return Pose(
        rotation_from_euler(*angles),
        torch.rand(count) * 60 + 30,
        torch.rand(count, 2) * 200,
        torch.rand(count) * 5,
    )


def test_angles_survive_the_round_trip() -> None:
    torch.manual_seed(0)
    yaw, pitch, roll = ((torch.rand(3, 200) - 0.5) * 2.8).double()
    rotation = rotation_from_euler(yaw, pitch, roll)
    for got, expected in zip(euler_from_rotation(rotation), (yaw, pitch, roll), strict=True):
        assert torch.allclose(got, expected, atol=1e-9)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(200).double())


def test_signs_are_those_of_the_conventions() -> None:
    nose, ear = torch.tensor([0.0, 0.0, -1.0]), torch.tensor([1.0, 0.0, 0.0])
    zero, some = torch.tensor(0.0), torch.tensor(0.3)
    assert (rotation_from_euler(some, zero, zero) @ nose)[0] > 0.2  # to the picture's right
    assert (rotation_from_euler(zero, some, zero) @ nose)[1] < -0.2  # up, y points down
    assert (rotation_from_euler(zero, zero, some) @ ear)[1] > 0.2  # clockwise


def test_changing_one_angle_is_a_rotation_by_that_angle() -> None:
    start = torch.tensor([0.4, -0.2, 0.3])
    for axis in range(3):
        moved = start.clone()
        moved[axis] += 0.175
        turn = rotation_from_euler(*moved) @ rotation_from_euler(*start).T
        angle = torch.arccos((turn.trace() - 1) / 2)
        assert abs(angle.item() - 0.175) < 1e-4


def test_fit_finds_the_pose_and_place_undoes_unplace() -> None:
    torch.manual_seed(1)
    shape = torch.randn(40, 3)
    pose = random_pose(8)
    posed = place(shape.expand(8, -1, -1), pose)
    found = fit_pose(posed, shape)
    assert torch.allclose(found.rotation, pose.rotation, atol=1e-4)
    assert torch.allclose(found.scale, pose.scale, rtol=1e-4)
    assert torch.allclose(found.translation, pose.translation, atol=1e-2)
    assert torch.allclose(unplace(posed, pose), shape.expand(8, -1, -1), atol=1e-4)


def test_mirrored_points_give_a_proper_rotation() -> None:
    torch.manual_seed(2)
    shape = torch.randn(20, 3)
    pose = fit_pose((shape * torch.tensor([-1.0, 1.0, 1.0]))[None], shape)
    assert torch.linalg.det(pose.rotation)[0] > 0.99


def test_weights_silence_points() -> None:
    torch.manual_seed(3)
    shape = torch.randn(30, 3)
    pose = random_pose(1)
    posed = place(shape[None], pose)
    posed[:, :5] += 50
    weights = torch.ones(30)
    weights[:5] = 0
    assert torch.allclose(fit_pose(posed, shape, weights).rotation, pose.rotation, atol=1e-4)
