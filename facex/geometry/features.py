# SPDX-License-Identifier: Apache-2.0
"""Single features of another face's shape: its brows, eyes, nose or lips on the target's face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from facex.geometry.face_geometry import FaceGeometry
from facex.geometry.pose import unplace
from facex.geometry.shape_model import ShapeModel, bundled
from facex.geometry.topology import (
    EYES,
    IRISES,
    LEFT_BROW,
    LIPS_INNER,
    LIPS_OUTER,
    NOSE,
    RIGHT_BROW,
)
from facex.types import Region

FEATURES: Final[Mapping[Region, tuple[tuple[int, ...], ...]]] = {
    Region.BROWS: (RIGHT_BROW, LEFT_BROW),
    Region.EYES: (EYES[0] + IRISES[0], EYES[1] + IRISES[1]),
    Region.NOSE: (NOSE,),
    Region.LIPS: (LIPS_OUTER + LIPS_INNER,),
}
"""Points of the features that have a shape of their own, each side by itself."""

_REACH: Final = 0.07
"""How far around a feature the face gives way, in distances between the pupils."""


def with_features(
    result: FaceGeometry,
    donors: Mapping[Region, FaceGeometry],
    model: ShapeModel | None = None,
) -> FaceGeometry:
    """The mesh with single features of other shapes, where the face has its own.

    Args:
        result: the mesh of the edit.
        donors: for each feature, the same edit's mesh with another person's shape.
        model: the shape model; the bundled one by default.

    Returns:
        The geometry; ``result`` itself when nothing is taken.
    """
    if not donors:
        return result
    model = model or bundled()
    landmarks = result.landmarks
    for region, donor in donors.items():
        for side in FEATURES[region]:
            points = list(side)
            own, theirs = landmarks[:, points], donor.landmarks[:, points]
            # A feature sits in the middle of where the face has its own.
            shift = own.mean(1, keepdim=True) - theirs.mean(1, keepdim=True)
            weight = _weight(model, points).to(landmarks)[:, None]
            landmarks = landmarks + weight * (donor.landmarks + shift - landmarks)
    pose = result.pose(model)
    residual = unplace(landmarks, pose) - model.shape_points(result.shape, result.expression)
    return replace(result, landmarks=landmarks, residual=residual)


def _weight(model: ShapeModel, points: list[int]) -> Tensor:
    """(478,): 1 on the points, falling around them."""
    near = torch.cdist(model.mean, model.mean[points]).min(dim=1).values
    return torch.exp(-0.5 * (near / _REACH).square())
