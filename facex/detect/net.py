# SPDX-License-Identifier: Apache-2.0
"""The network of the bundled detector: a small pyramid that scores cells and measures faces."""

from __future__ import annotations

from copy import deepcopy
from typing import Final

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

STRIDES: Final = (8, 16, 32)
"""Pixels of the picture that a cell of each level stands for."""
OUTPUTS: Final = 16
"""Score, centre (2), log side, cosine and sine of the roll, five keypoints (10)."""


def _separable(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Depthwise then pointwise convolution, each with batch norm; SiLU at the end."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, kernel, stride, kernel // 2, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(inplace=True),
    )


class _Residual(nn.Module):
    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.body = _separable(channels, channels, kernel)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class DetectorNet(ModelMixin, ConfigMixin):
    """Scores and measures of faces on three levels.

    A cell of level ``l`` predicts, in units of its stride: the centre of the face relative to the
    cell's middle, the logarithm of the side of its upright square, and five keypoints relative to
    that centre in units of the side; the roll as an unnormalised (cosine, sine).

    Args:
        stem: channels at half and a quarter of the picture's size.
        channels: channels at 1/8, 1/16 and 1/32.
        width: channels of the pyramid and of the head, which all levels share.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        stem: tuple[int, int] = (16, 32),
        channels: tuple[int, int, int] = (64, 96, 160),
        width: int = 64,
    ) -> None:
        super().__init__()
        self.entry = nn.Sequential(
            nn.Conv2d(3, stem[0], 3, 2, 1, bias=False),
            nn.BatchNorm2d(stem[0]),
            nn.SiLU(inplace=True),
            _separable(stem[0], stem[1], 3, 2),
        )
        inputs = (stem[1], *channels)
        self.stages = nn.ModuleList(
            nn.Sequential(
                _separable(inputs[i], inputs[i + 1], 3, 2),
                _Residual(inputs[i + 1], 3 if i == 0 else 5),
                _Residual(inputs[i + 1], 3 if i == 0 else 5),
            )
            for i in range(3)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = nn.ModuleList(_Residual(width, 3) for _ in channels)
        self.head = nn.Sequential(_Residual(width, 3), _Residual(width, 3))
        self.out = nn.Conv2d(width, OUTPUTS, 1)
        nn.init.constant_(self.out.bias[:1], -4.0)  # type: ignore[index]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps ``(B, 16, h, w)`` of the three levels.

        Args:
            images: ``(B, 3, H, W)`` in [-1, 1], sides multiples of 32.
        """
        maps, x = [], self.entry(images)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        levels = [lateral(m) for lateral, m in zip(self.lateral, maps, strict=True)]
        for i in (1, 0):
            levels[i] = levels[i] + F.interpolate(levels[i + 1], scale_factor=2.0, mode="nearest")
        return [
            self.out(self.head(smooth(level)))
            for smooth, level in zip(self.smooth, levels, strict=True)
        ]


def fused(net: DetectorNet) -> DetectorNet:
    """A copy whose batch norms are part of the convolutions before them: the same, but faster."""
    copy = deepcopy(net).eval()
    for chain in copy.modules():
        if not isinstance(chain, nn.Sequential):
            continue
        for i in range(len(chain) - 1):
            convolution, norm = chain[i], chain[i + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                chain[i], chain[i + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    return copy


def decode(level: Tensor, stride: int) -> Tensor:
    """Faces that every cell of a level describes, in pixels of the picture.

    Args:
        level: ``(B, 16, h, w)`` of `DetectorNet`.
        stride: pixels of a cell.

    Returns:
        ``(B, h * w, 15)``: score in [0, 1], centre x, y, side, roll (radians), five points x, y.
    """
    height, width = level.shape[-2:]
    v, u = torch.meshgrid(
        torch.arange(height, device=level.device) + 0.5,
        torch.arange(width, device=level.device) + 0.5,
        indexing="ij",
    )
    middle = torch.stack([u, v]).to(level.dtype)
    centre = (middle + level[:, 1:3]) * stride
    side = level[:, 3:4].clamp(-4, 6).exp() * stride
    roll = torch.atan2(level[:, 5:6], level[:, 4:5])
    points = level[:, 6:16].unflatten(1, (5, 2)) * side[:, None] + centre[:, None]
    parts = [level[:, :1].sigmoid(), centre, side, roll, points.flatten(1, 2)]
    return torch.cat(parts, 1).flatten(2).transpose(1, 2)
