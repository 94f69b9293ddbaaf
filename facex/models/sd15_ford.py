# SPDX-License-Identifier: Apache-2.0
"""The sd15 model's FORD: mini landmarks and mesh, and the paper's extractors for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facex.ford.decompose import FORD
from facex.ford.motion import MotionNet
from facex.ford.sd15 import load_extractors
from facex.geometry.shape_model import ShapeModel
from facex.models.mini_ford import load_network

SD15_FORD = "facex-sd15-1"
"""Name of this set of extractors, kept in every representation."""


class LandmarkMeshExtractor:
    """Landmarks and the fitted mesh; expression coefficients come from D3DFR here.

    The mesh is fitted with the blendshapes of the landmark network, which are not handed on.
    """

    provides = ("landmarks", "shape", "rotation", "scale", "translation", "residual")

    def __init__(self, net: MotionNet, model: ShapeModel) -> None:
        self.net, self.model = net, model

    @torch.no_grad()
    def __call__(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read an aligned crop ``(B, 3, S, S)``."""
        landmarks, expression = self.net(crop)
        fit = self.model.fit(landmarks.float(), expression.float())
        return {
            "landmarks": landmarks.float(),
            "shape": fit.shape,
            "rotation": fit.rotation,
            "scale": fit.scale,
            "translation": fit.translation,
            "residual": fit.residual,
        }


def load_sd15_ford(folder: Path) -> FORD:
    """Build the extractors of a model's ``ford`` folder."""
    mesh = LandmarkMeshExtractor(
        load_network(MotionNet, folder / "motion"), ShapeModel.from_folder(folder / "shape_model")
    )
    return FORD([mesh, *load_extractors(folder)], name=SD15_FORD)
