# SPDX-License-Identifier: Apache-2.0
"""Pose and shape: the mini 3DMM fitted to the landmarks (DESIGN 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from facex.geometry.shape_model import ShapeModel


class MeshExtractor:
    """Provides ``shape``, ``rotation``, ``scale``, ``translation`` and ``residual``.

    Needs ``landmarks`` and 52 blendshapes under ``expression``.
    """

    provides = ("shape", "rotation", "scale", "translation", "residual")

    def __init__(self, model: ShapeModel) -> None:
        self.model = model

    @torch.no_grad()
    def __call__(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Any]:
        """Fit the shape model to the landmarks of ``(B, 3, S, S)`` crops."""
        fit = self.model.fit(fields["landmarks"].float(), fields["expression"].float())
        return {
            "shape": fit.shape,
            "rotation": fit.rotation,
            "scale": fit.scale,
            "translation": fit.translation,
            "residual": fit.residual,
        }
