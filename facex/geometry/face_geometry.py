# SPDX-License-Identifier: Apache-2.0
"""Where the parts of a face are: its landmarks, and what the shape model makes of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from facex.geometry.pose import Pose, euler_from_rotation, place
from facex.geometry.shape_model import ShapeModel, bundled


@dataclass(frozen=True)
class FaceGeometry:
    """The geometry of a batch of faces.

    Attributes:
        landmarks: (B, 478, 3) crop pixels.
        shape: (B, Kid) identity coefficients.
        expression: (B, 52) blendshapes in [0, 1].
        rotation: (B, 3, 3).
        scale: (B,) pixels per pupil distance of the mean face.
        translation: (B, 2) pixels.
        residual: (B, 478, 3) what the shape model cannot say, canonical frame.
        gaze: (B, 2, 2) [right, left eye] x [pitch, yaw], radians, camera frame.
    """

    landmarks: Tensor
    shape: Tensor
    expression: Tensor
    rotation: Tensor
    scale: Tensor
    translation: Tensor
    residual: Tensor
    gaze: Tensor

    @property
    def angles(self) -> tuple[Tensor, Tensor, Tensor]:
        """Yaw, pitch and roll of the head, each (B,) radians."""
        return euler_from_rotation(self.rotation)

    def pose(self, model: ShapeModel | None = None) -> Pose:
        """The pose with the landmarks' own zero of depth."""
        model = model or bundled()
        points = model.shape_points(self.shape, self.expression, self.residual)
        flat = Pose(self.rotation, self.scale, self.translation, torch.zeros_like(self.scale))
        depth = (self.landmarks - place(points, flat))[..., 2].mean(dim=1)
        return flat._replace(depth=depth)

    def moved(self, offset: Tensor) -> FaceGeometry:
        """The same with points moved by (B, 478, 3) in the canonical frame."""
        shift = self.scale[:, None, None] * offset @ self.rotation.mT
        return replace(self, landmarks=self.landmarks + shift, residual=self.residual + offset)


def measure(
    landmarks: Tensor, expression: Tensor, gaze: Tensor, model: ShapeModel | None = None
) -> FaceGeometry:
    """Take faces apart.

    Args:
        landmarks: (B, 478, 3) crop pixels.
        expression: (B, 52) in [0, 1].
        gaze: (B, 2, 2) radians.
        model: the shape model; the bundled one by default.
    """
    fit = (model or bundled()).fit(landmarks, expression)
    return FaceGeometry(
        landmarks,
        fit.shape,
        expression,
        fit.rotation,
        fit.scale,
        fit.translation,
        fit.residual,
        gaze,
    )
