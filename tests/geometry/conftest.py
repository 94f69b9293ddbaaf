# SPDX-License-Identifier: Apache-2.0
"""Synthetic faces of the bundled shape model: no photo is needed to test geometry."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from facex.geometry.face_geometry import FaceGeometry, measure
from facex.geometry.pose import Pose, rotation_from_euler
from facex.geometry.shape_model import ShapeModel, bundled

MakeFace = Callable[..., FaceGeometry]


@pytest.fixture(scope="session")
def model() -> ShapeModel:
    return bundled()


@pytest.fixture
def make_face(model: ShapeModel) -> MakeFace:
    """A face with random identity, expression and residual at a given head pose in degrees."""

    def make(
        seed: int = 0, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0
    ) -> FaceGeometry:
        random = torch.Generator().manual_seed(seed)
        shape = torch.randn(1, model.identity_size, generator=random) * 0.5
        expression = torch.rand(1, model.expression_size, generator=random) * 0.15
        residual = torch.randn(1, 478, 3, generator=random) * 0.001
        angles = torch.deg2rad(torch.tensor([[yaw], [pitch], [roll]]))
        pose = Pose(
            rotation_from_euler(*angles),
            torch.tensor([64.0]),
            torch.tensor([[128.0, 121.0]]),
            torch.tensor([2.0]),
        )
        points = model.pose_points(model.shape_points(shape, expression, residual), pose)
        return measure(points, expression, torch.zeros(1, 2, 2))

    return make


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    """Smooth random colours, 256 px."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (16, 16, 3)).astype(np.float32)
    import cv2

    fine = cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC)
    return np.clip(fine, 0, 255).astype(np.uint8)


def points_of(face: FaceGeometry) -> NDArray[np.float64]:
    return face.landmarks[0].double().numpy()
