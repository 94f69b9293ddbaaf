# SPDX-License-Identifier: Apache-2.0
"""Expression, texture and light by D3DFR (Deng et al. 2019), names of the public PyTorch release.

The network puts out 257 numbers: identity 80, expression 64, texture 80, three angles, light 27
(nine spherical harmonics for red, then green, then blue) and a translation of 3. The face model
that they belong to (Basel 2009) is not needed here: the numbers themselves are the factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from facex.ford.sd15.align import d3dfr_crop
from facex.ford.sd15.loading import FrozenExtractor
from facex.ford.sd15.resnet import ResNet

_HEADS: Final = (80, 64, 80, 3, 27, 2, 1)
_PARTS: Final = (80, 64, 80, 3, 27, 3)
COEFFICIENT_COUNT: Final = 257


class Coefficients(NamedTuple):
    """The 257 numbers by meaning.

    Attributes:
        identity: (B, 80) shape.
        expression: (B, 64).
        texture: (B, 80) albedo.
        angles: (B, 3) turns about x, y and z in the network's frame (y up, z to the camera),
            radians; :func:`rotation_from_angles` brings them into FaceX's.
        light: (B, 27) spherical harmonics; the network's own ambient offset (0.8 in the first of
            each nine) is not in them.
        translation: (B, 3).
    """

    identity: Tensor
    expression: Tensor
    texture: Tensor
    angles: Tensor
    light: Tensor
    translation: Tensor


def split_coefficients(coefficients: Tensor) -> Coefficients:
    """Name the parts of ``(B, 257)``."""
    return Coefficients(*coefficients.split(_PARTS, dim=1))


def rotation_from_angles(angles: Tensor) -> Tensor:
    """Rotation ``(B, 3, 3)`` in FaceX's camera frame (x right, y down, z away).

    Args:
        angles: ``(B, 3)`` of :class:`Coefficients`: applied about x, then y, then z.
    """
    cx, cy, cz = angles.cos().unbind(1)
    sx, sy, sz = angles.sin().unbind(1)
    zero, one = torch.zeros_like(cx), torch.ones_like(cx)

    def matrix(*rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    # The frames differ by turning y and z round, which reverses the turns about y and z.
    about_x = matrix((one, zero, zero), (zero, cx, -sx), (zero, sx, cx))
    about_y = matrix((cy, zero, -sy), (zero, one, zero), (sy, zero, cy))
    about_z = matrix((cz, sz, zero), (-sz, cz, zero), (zero, zero, one))
    return about_z @ about_y @ about_x


class D3DFRNet(ModelMixin, ConfigMixin):
    """ResNet-50 with seven 1x1 heads.

    Args:
        width: channels of the trunk's first layer; 64 in the public checkpoint.
    """

    @register_to_config
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.backbone = ResNet(50, width)
        self.final_layers = nn.ModuleList(
            nn.Conv2d(self.backbone.channels, count, 1) for count in _HEADS
        )

    def forward(self, images: Tensor) -> Tensor:
        """Read crops ``(B, 3, 224, 224)`` in [0, 1] into ``(B, 257)``."""
        pooled = self.backbone(images)[-1].mean((2, 3), keepdim=True)
        return torch.cat([head(pooled) for head in self.final_layers], 1).flatten(1)


class D3DFRExtractor(FrozenExtractor):
    """Provides ``expression`` (B, 64), ``texture`` (B, 80), ``light`` (B, 27).

    Args:
        net: the network.
        with_rotation: provide ``rotation`` (B, 3, 3) too. Off as a rule: the mesh that carries the
            picture has its own fitted pose, and two face models do not agree to the degree.
    """

    def __init__(self, net: D3DFRNet, with_rotation: bool = False) -> None:
        super().__init__(net)
        self.provides = ("expression", "texture", "light")
        if with_rotation:
            self.provides += ("rotation",)

    def coefficients(self, crop: Tensor, landmarks: Tensor) -> Coefficients:
        """All numbers of crops ``(B, 3, S, S)`` in [-1, 1]; differentiable, float32."""
        patch = d3dfr_crop(self._fit(crop), landmarks)
        return split_coefficients(self.net((patch + 1) / 2).float())

    def forward(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Read crops ``(B, 3, S, S)`` in [-1, 1]; needs ``landmarks``."""
        found = self.coefficients(crop, fields["landmarks"])
        result = {"expression": found.expression, "texture": found.texture, "light": found.light}
        if "rotation" in self.provides:
            result["rotation"] = rotation_from_angles(found.angles)
        return result
