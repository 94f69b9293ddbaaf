# SPDX-License-Identifier: Apache-2.0
"""phi^Inp: the reference image becomes tokens f^Inp (DESIGN, section 4).

Two encoders behind one protocol: mini reads the latents and masks that exist anyway, sd15 reads
patch features of an image encoder (the paper: CLIP with an adapter).
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ReferenceTokens(Protocol):
    """Reference -> tokens."""

    def __call__(self, reference: Tensor) -> Tensor:
        """Encodes a reference: (B, ...) -> (B, n, d)."""
        ...


class LatentReferenceEncoder(nn.Module):
    """Reference latents and masks -> a grid of tokens.

    Args:
        latent_channels: C of the latents.
        fold: side of the square of latent cells that becomes one.
        width: d of the tokens.
        inner: channels of the first convolution.
        grid: tokens per side for which positions are learned; other sizes interpolate.
    """

    def __init__(
        self, latent_channels: int, fold: int, width: int, inner: int = 128, grid: int = 8
    ) -> None:
        super().__init__()
        self.fold = fold
        self.body = nn.Sequential(
            nn.Conv2d((latent_channels + 2) * fold * fold, inner, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(inner, inner, 3, stride=2, padding=1),
            nn.GroupNorm(math.gcd(32, inner), inner),
            nn.SiLU(),
            nn.Conv2d(inner, width, 1),
        )
        self.positions = nn.Parameter(0.02 * torch.randn(1, width, grid, grid))

    def forward(self, reference: Tensor) -> Tensor:
        """Encodes a reference.

        Args:
            reference: (B, C + 2, h, w): latents, known mask, edit mask.

        Returns:
            (B, n, width), row by row; 8 x 8 tokens for mini.
        """
        cells = F.pixel_unshuffle(reference, self.fold) if self.fold > 1 else reference
        grid = self.body(cells.to(self.positions.dtype))
        positions: Tensor = self.positions
        if grid.shape[-2:] != positions.shape[-2:]:
            positions = F.interpolate(positions, grid.shape[-2:], mode="bilinear")
        return (grid + positions).flatten(2).transpose(1, 2)


class FeatureReferenceEncoder(nn.Module):
    """Patch features of an image encoder -> tokens, (B, n, channels) -> (B, n, width).

    Args:
        channels: width of the features.
        width: d of the tokens.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, width)
        self.kind = nn.Parameter(0.02 * torch.randn(1, 1, width))

    def forward(self, reference: Tensor) -> Tensor:
        """Encodes a reference; the features carry their own positions."""
        return self.project(self.norm(reference.to(self.kind.dtype))) + self.kind
