# SPDX-License-Identifier: Apache-2.0
"""The spatial path: the warped reference enters the UNet at every resolution.

A light encoder with zero-initialised outputs (the kind of T2I-Adapter, Mou et al. 2023), run once
per edit, not per step (DESIGN, section 6). Besides the features after each down stage there is one
that is added right after the UNet's first convolution: the former reach the network only behind
the first stage's attention, and an image to be repaired should be seen from the start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GEOMETRY_CHANNELS = 12
"""Position map x, y, z at twice the latent resolution, 2 x 2 points folded into one cell."""
MASK_CHANNELS = 2
"""Known and edit."""


def norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with up to 32 groups that divide the channels."""
    return nn.GroupNorm(math.gcd(32, channels), channels)


def zero_conv(channels: int, out_channels: int, kernel: int = 1) -> nn.Conv2d:
    """A convolution that puts out zeros before training, spatial size unchanged."""
    conv = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2)
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


class ResidualBlock(nn.Module):
    """Two normalised 3 x 3 convolutions beside a skip, (B, c, h, w) -> (B, c, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            norm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            norm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Adds the block's answer to its input."""
        return x + self.body(x)


@dataclass(frozen=True)
class SpatialFeatures:
    """What the spatial path says about one edit; h', w' are folded latent cells.

    Attributes:
        entry: (B, c0, h', w'), added after the UNet's first convolution.
        stages: one per down stage, in diffusers' ``down_intrablock_additional_residuals`` shapes.
        trunk: (B, s0, h', w'), the encoder's own first features, for the anchor head.
    """

    entry: Tensor
    stages: tuple[Tensor, ...]
    trunk: Tensor

    def repeat(self, times: int) -> SpatialFeatures:
        """The same features for ``times`` copies of the batch, one after the other."""
        if times == 1:
            return self
        return SpatialFeatures(
            self.entry.repeat(times, 1, 1, 1),
            tuple(stage.repeat(times, 1, 1, 1) for stage in self.stages),
            self.trunk.repeat(times, 1, 1, 1),
        )


def stage_shapes(unet: Any) -> list[tuple[int, int]]:
    """Where diffusers adds a feature per down stage: (channels, downscale) of each.

    A stage with attention takes it before its downsampler, a stage without takes it after.
    """
    shapes: list[tuple[int, int]] = []
    factor = 1
    for stage in unet.down_blocks:
        channels = int(stage.resnets[-1].out_channels)
        after = factor * (2 if stage.downsamplers is not None else 1)
        shapes.append((channels, factor if getattr(stage, "has_cross_attention", False) else after))
        factor = after
    return shapes


class SpatialEncoder(nn.Module):
    """Reference latents, masks and geometry -> one feature per resolution of the UNet.

    Args:
        latent_channels: C of the latents.
        fold: side of the square of latent cells that the UNet sees as one.
        entry_channels: channels after the UNet's first convolution.
        stages: (channels, downscale) of each down stage, from ``stage_shapes``.
        widths: inner channels per stage; as many as ``stages``.
        blocks: residual blocks per stage.
    """

    def __init__(
        self,
        latent_channels: int,
        fold: int,
        entry_channels: int,
        stages: Sequence[tuple[int, int]],
        widths: Sequence[int],
        blocks: int = 1,
    ) -> None:
        super().__init__()
        self.fold = fold
        self.factors = [factor for _, factor in stages]
        cell = latent_channels + MASK_CHANNELS + GEOMETRY_CHANNELS
        self.conv_in = nn.Conv2d(cell * fold * fold, widths[0], 3, padding=1)
        self.to_entry = zero_conv(widths[0], entry_channels)
        self.downs = nn.ModuleList()
        self.bodies = nn.ModuleList()
        self.outs = nn.ModuleList()
        width, factor = widths[0], 1
        for (channels, stage_factor), inner in zip(stages, widths, strict=True):
            stride = stage_factor // factor
            same = width == inner and stride == 1
            self.downs.append(
                nn.Identity() if same else nn.Conv2d(width, inner, 3, stride=stride, padding=1)
            )
            self.bodies.append(nn.Sequential(*(ResidualBlock(inner) for _ in range(blocks))))
            self.outs.append(zero_conv(inner, channels))
            width, factor = inner, stage_factor

    def open_outputs(self, gain: float) -> None:
        """Lets the features in from the first step, for a base that is trained along.

        Behind zeros the base first learns to do without them; a base that is frozen needs them.

        Args:
            gain: size of the features that are added, relative to the encoder's own.
        """
        for conv in (self.to_entry, *self.outs):
            nn.init.normal_(conv.weight, std=gain / math.sqrt(conv.weight[0].numel()))

    def forward(
        self, latents: Tensor, known: Tensor, edit: Tensor, geometry: Tensor | None
    ) -> SpatialFeatures:
        """Describes one edit.

        Args:
            latents: (B, C, h, w), of the reference image.
            known: (B, 1, H, W) in [0, 1], which pixels of the reference carry content.
            edit: (B, 1, H, W) in [0, 1], which pixels of the result may change.
            geometry: (B, 3, H', W') in [-1, 1], canonical position of the result's surface per
                pixel, 0 where there is none; None: nowhere.

        Returns:
            The features of the edit.
        """
        height, width = latents.shape[-2:]
        masks = [F.interpolate(mask, (height, width), mode="area") for mask in (known, edit)]
        if geometry is None:
            points = latents.new_zeros(len(latents), GEOMETRY_CHANNELS, height, width)
        else:
            finer = F.interpolate(geometry, (2 * height, 2 * width), mode="area")
            points = F.pixel_unshuffle(finer, 2)
        cells = torch.cat([latents, *masks, points], dim=1).to(self.conv_in.weight.dtype)
        trunk = self.conv_in(F.pixel_unshuffle(cells, self.fold))
        hidden, first, stages = trunk, trunk, []
        for index, (down, body, out) in enumerate(
            zip(self.downs, self.bodies, self.outs, strict=True)
        ):
            hidden = body(down(hidden))
            if index == 0 and self.factors[0] == 1:
                first = hidden
            stages.append(out(hidden))
        return SpatialFeatures(self.to_entry(first), tuple(stages), first)
