# SPDX-License-Identifier: Apache-2.0
"""The sd15 model's FORD: mini landmarks and mesh, and the paper's extractors for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facex.ford.decompose import FORD
from facex.ford.motion import MotionNet
from facex.ford.sd15 import D3DFRExtractor, load_extractors
from facex.geometry.shape_model import ShapeModel
from facex.models.mini_ford import load_network

SD15_FORD = "facex-sd15-1"
"""Name of this set of extractors, kept in every representation."""


class LandmarkMeshExtractor:
    """Landmarks and the fitted mesh, from the bundled networks."""

    provides = ("landmarks", "shape", "rotation", "scale", "translation", "residual")

    def __init__(self, net: MotionNet, model: ShapeModel) -> None:
        self.net, self.model = net, model

    @torch.no_grad()
    def __call__(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read an aligned crop ``(B, 3, S, S)``."""
        landmarks = self.net(crop)[0].float()
        fit = self.model.fit(landmarks, self.net.blendshapes(landmarks))
        return {
            "landmarks": landmarks,
            "shape": fit.shape,
            "rotation": fit.rotation,
            "scale": fit.scale,
            "translation": fit.translation,
            "residual": fit.residual,
        }


class JoinedExpression(nn.Module):
    """Expression as 52 blendshapes, which move the mesh, followed by D3DFR's 64 coefficients.

    Sliders and drivers act on blendshapes and D3DFR's coefficients belong to another mesh; as
    tokens they say more together.

    Args:
        net: the landmark network, whose blendshapes are read from the landmarks.
        coefficients: D3DFR.
    """

    def __init__(self, net: MotionNet, coefficients: D3DFRExtractor) -> None:
        super().__init__()
        self.net, self.coefficients = net, coefficients
        self.provides = coefficients.provides

    def forward(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Read an aligned crop ``(B, 3, S, S)``; needs ``landmarks``."""
        found = dict(self.coefficients(crop, fields))
        blendshapes = self.net.blendshapes(fields["landmarks"])
        found["expression"] = torch.cat([blendshapes, found["expression"]], 1)
        return found


def load_sd15_ford(folder: Path) -> FORD:
    """Build the extractors of a model's ``ford`` folder.

    Raises:
        ModelNotFound: a part is missing.
        WeightsCorrupt: a part is damaged.
        MissingExtra: transformers is not installed.
    """
    net = load_network(MotionNet, folder / "motion").requires_grad_(False)
    mesh = LandmarkMeshExtractor(net, ShapeModel.from_folder(folder / "shape_model"))
    public = [
        JoinedExpression(net, one) if isinstance(one, D3DFRExtractor) else one
        for one in load_extractors(folder.parent)
    ]
    return FORD([mesh, *public], name=SD15_FORD)
