# SPDX-License-Identifier: Apache-2.0
"""A mouth is open as far as the one whose expression it has, and nothing else moves for that."""

from __future__ import annotations

import pytest
import torch

from facex.fors.motion import result_geometry
from facex.geometry.drive import combine
from facex.geometry.face_geometry import FaceGeometry
from facex.geometry.mouth import mouth_grid
from facex.geometry.opening import match_opening
from facex.geometry.shape_model import bundled
from facex.geometry.sliders import Sliders
from facex.geometry.topology import EYES, LIPS_INNER, SURFACE_COUNT
from facex.recipes.plan import plan_step
from facex.recipes.schema import Step
from tests.fors import made_up

SIZE = 256


def face(opened: float, *, thick: float = 0.0, yaw: float = 0.0) -> FaceGeometry:
    """The mean face with its jaw opened, and its lips apart by nature or over each other."""
    made = combine(
        made_up.geometry(yaw, size=SIZE), sliders=Sliders(expression={"jawOpen": opened})
    )
    lower = list(LIPS_INNER[len(LIPS_INNER) // 2 + 1 :])
    residual = made.residual.clone()
    residual[:, lower, 1] += thick
    points = bundled().shape_points(made.shape, made.expression, residual)
    landmarks = bundled().pose_points(points, made.pose())
    return FaceGeometry(**{**vars(made), "landmarks": landmarks, "residual": residual})


def openness(geometry: FaceGeometry) -> float:
    return mouth_grid(geometry.landmarks[0].numpy())[1]


@pytest.mark.parametrize("thick", [-0.05, 0.0, 0.08])
@pytest.mark.parametrize("opened", [0.0, 0.3, 0.6])
def test_the_mouth_opens_as_far_as_the_tellers(opened: float, thick: float) -> None:
    result, teller = face(0.2, thick=thick), face(opened)
    matched = match_opening(result, teller)
    assert openness(matched) == pytest.approx(openness(teller), abs=0.03)
    still = [*EYES[0], *EYES[1], 1, 10, 234, 454, LIPS_INNER[0]]
    moved = (matched.landmarks - result.landmarks)[0, still, :2].norm(dim=-1)
    assert moved.max() < 0.004 * SIZE
    # The mesh still is shape, expression and residual.
    points = bundled().shape_points(matched.shape, matched.expression, matched.residual)
    drawn = bundled().pose_points(points, result.pose())
    assert torch.allclose(drawn[..., :2], matched.landmarks[..., :2], atol=0.02)


def test_a_mouth_that_fits_is_left_alone() -> None:
    result = face(0.3)
    moved = match_opening(result, result).landmarks - result.landmarks
    assert moved.abs().max() < 1e-4


def test_a_swap_shuts_the_mouth_that_its_target_shuts() -> None:
    faces = {"target": face(0.0), "source": face(0.1, thick=0.1, yaw=12.0)}
    step = Step.model_validate({"identity": "source", "regions": {"face": "source"}})
    result = result_geometry(plan_step(step).motion, faces)
    assert openness(result) == pytest.approx(openness(faces["target"]), abs=0.015)
    assert result.landmarks[0, :SURFACE_COUNT].isfinite().all()


def test_a_driver_opens_the_mouth_as_far_as_its_own() -> None:
    faces = {"target": face(0.4, thick=0.1), "driver": face(0.1)}
    step = Step.model_validate({"expression": "driver"})
    result = result_geometry(plan_step(step).motion, faces)
    assert openness(result) == pytest.approx(openness(faces["driver"]), abs=0.03)
