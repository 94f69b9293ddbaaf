# SPDX-License-Identifier: Apache-2.0
"""Building blocks shared by the small face-analysis networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, SiLU; keeps the size at stride 1."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_bn(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, h, w)`` to the same shape."""
        return F.silu(x + self.second(self.first(x)))


def stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    """Halve the resolution, then ``blocks`` residual blocks."""
    return nn.Sequential(
        conv_bn(inputs, outputs, stride=2), *(ResidualBlock(outputs) for _ in range(blocks))
    )


class FoldedBackbone(nn.Module):
    """Convolutional pyramid that begins by folding 2x2 pixels into channels.

    Folding first is several times cheaper on a CPU than convolving at full resolution, and loses
    nothing.

    Args:
        channels: width of the stages, at 1/2, 1/4, 1/8, ... of the input's size.
        blocks: residual blocks of each stage.
    """

    def __init__(self, channels: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_bn(12, channels[0]), *(ResidualBlock(channels[0]) for _ in range(blocks[0]))
        )
        self.stages = nn.ModuleList(
            stage(a, b, n) for a, b, n in zip(channels, channels[1:], blocks[1:], strict=False)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps of all stages for ``(B, 3, H, W)`` images in [-1, 1]."""
        maps = [self.stem(F.pixel_unshuffle(images, 2))]
        for module in self.stages:
            maps.append(module(maps[-1]))
        return maps


def sample_affine(images: Tensor, image_from_patch: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut patches out of images by an affine map, differentiably.

    Args:
        images: ``(B, 3, H, W)``.
        image_from_patch: ``(B, 2, 3)``, patch pixels to image pixels (centres at +0.5).
        size: height and width of the patches.

    Returns:
        ``(B, 3, *size)``, bilinear, replicated at the border.
    """
    height, width = size
    v, u = torch.meshgrid(
        torch.arange(height, device=images.device, dtype=images.dtype) + 0.5,
        torch.arange(width, device=images.device, dtype=images.dtype) + 0.5,
        indexing="ij",
    )
    points = torch.stack([u, v, torch.ones_like(u)], -1)
    xy = torch.einsum("hwk,bik->bhwi", points, image_from_patch.to(images.dtype))
    extent = torch.tensor(
        [images.shape[-1], images.shape[-2]], device=images.device, dtype=images.dtype
    )
    grid = xy / extent * 2 - 1
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def similarity_from_points(source: Tensor, destination: Tensor) -> Tensor:
    """Least-squares similarity that takes ``source`` points to ``destination``.

    Args:
        source: ``(B, N, 2)``.
        destination: ``(B, N, 2)``.

    Returns:
        ``(B, 2, 3)`` matrices.
    """
    mean_s, mean_d = source.mean(1, keepdim=True), destination.mean(1, keepdim=True)
    a, b = source - mean_s, destination - mean_d
    norm = (a**2).sum((1, 2)).clamp_min(1e-8)
    cos = (a * b).sum((1, 2)) / norm
    sin = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(1) / norm
    rotation = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    shift = mean_d.transpose(1, 2) - rotation @ mean_s.transpose(1, 2)
    return torch.cat([rotation, shift], -1)
