# SPDX-License-Identifier: Apache-2.0
"""Light and texture: spherical harmonics and albedo code from the mesh's colours (DESIGN 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from facex.geometry.light_texture import fit_light_texture
from facex.geometry.shape_model import ShapeModel


class LightTextureExtractor:
    """Provides ``light`` (27 coefficients) and ``texture``; needs ``landmarks``."""

    provides = ("light", "texture")

    def __init__(self, model: ShapeModel) -> None:
        self.model = model

    @torch.no_grad()
    def __call__(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read crops ``(B, 3, S, S)`` in [-1, 1]."""
        light, texture = fit_light_texture(crop.float(), fields["landmarks"], self.model)
        return {"light": light, "texture": texture}
