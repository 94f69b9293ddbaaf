# SPDX-License-Identifier: Apache-2.0
"""Light and texture: spherical harmonics, and the code of the albedo (DESIGN 2).

The light is solved on the mesh's points; divided by it, the pixels of the bare face give the dense
albedo of :mod:`facex.geometry.albedo`, of which the code keeps the principal components.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from facex.geometry.albedo import AlbedoModel, bare_face, measure
from facex.geometry.light_texture import fit_light_texture
from facex.geometry.shape_model import ShapeModel


class LightTextureExtractor:
    """Provides ``light`` (27 coefficients) and ``texture``; needs ``landmarks`` and ``parsing``.

    Args:
        model: the mesh, with the mean albedo at its points.
        albedo: the dense albedo; None: a folder from before it, whose texture is the 64 components
            at the mesh's points.
    """

    provides = ("light", "texture")

    def __init__(self, model: ShapeModel, albedo: AlbedoModel | None = None) -> None:
        self.model, self.albedo = model, albedo

    @torch.no_grad()
    def __call__(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read crops ``(B, 3, S, S)`` in [-1, 1]."""
        points = fields["landmarks"]
        light, texture = fit_light_texture(crop.float(), points, self.model)
        if self.albedo is not None:
            seen = bare_face(fields["parsing"])
            texture = self.albedo.encode(*measure(crop, points, light, seen))
        return {"light": light, "texture": texture}
