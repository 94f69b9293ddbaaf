# SPDX-License-Identifier: Apache-2.0
"""Anchored prediction: the reference is the answer until the network knows better.

The clean latent is ``(1 - kappa) * base + kappa * (reference + correction)`` (DESIGN, section 6).
One deviation: there the spatial path alone puts out kappa and the correction. A correction must
know the target's light, the wanted identity and what the noisy latent already shows at the current
noise level, and only the steered UNet sees these. So the head reads the UNet's last features
beside the spatial path's first ones; both cost one convolution per step.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facex.errors import OptionError
from facex.frc.spatial import norm, zero_conv

AnchorInit = Literal["known", "zero"]

KNOWN_POWER = 4
"""A latent cell is known by the mean of its known pixels to this power: 1 where all are known, .3
where a quarter is not, next to nothing from half on. One number per cell mixes all its pixels, so
a cell with holes is no anchor; the power keeps the step between cells soft."""


class _StopAtBounds(torch.autograd.Function):
    """Clamp to [0, 1] whose gradient is blocked only where it would push further outside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        outward = ((x <= 0) & (gradient > 0)) | ((x >= 1) & (gradient < 0))
        return gradient.masked_fill(outward, 0)


def clamp_unit(x: Tensor) -> Tensor:
    """Clamps to [0, 1]; a value at a bound can still be moved inwards by its gradient."""
    return _StopAtBounds.apply(x)


def known_cells(known: Tensor, height: int, width: int) -> Tensor:
    """How far each latent cell is known.

    Args:
        known: (B, 1, H, W) in [0, 1], per pixel.
        height: latent cells down.
        width: latent cells across.

    Returns:
        (B, 1, height, width) in [0, 1]; exactly 1 where every pixel of the cell is known.
    """
    return F.interpolate(known, (height, width), mode="area").clamp(0, 1) ** KNOWN_POWER


class AnchorHead(nn.Module):
    """The UNet's last features and the reference's first ones -> correction and confidence.

    Args:
        feature_channels: channels before the UNet's last convolution.
        trunk_channels: channels of ``SpatialFeatures.trunk``.
        latent_channels: C of the latents.
        fold: side of the square of latent cells that the UNet sees as one.
        init: ``known``: kappa starts at the known mask, so that before any training the model
            returns the reference (mini). ``zero``: it starts at 0, so that the prediction is the
            base's own (sd15).
    """

    def __init__(
        self,
        feature_channels: int,
        trunk_channels: int,
        latent_channels: int,
        fold: int,
        init: AnchorInit,
    ) -> None:
        super().__init__()
        if init not in ("known", "zero"):
            raise OptionError(f"anchor_init is {init!r}; expected 'known' or 'zero'")
        self.fold = fold
        self.latent_channels = latent_channels
        self.start = 1.0 if init == "known" else 0.0
        channels = feature_channels + trunk_channels
        self.norm = norm(channels)
        self.out = zero_conv(channels, (latent_channels + 1) * fold * fold, kernel=3)

    def forward(self, features: Tensor, trunk: Tensor) -> tuple[Tensor, Tensor]:
        """Correction and confidence before the known mask.

        Args:
            features: (B, feature_channels, h', w'), input of the UNet's last convolution.
            trunk: (B, trunk_channels, h', w').

        Returns:
            The correction (B, C, h, w), zero before training, and the confidence (B, 1, h, w) in
            [0, 1], both float32.
        """
        joined = torch.cat([features.to(trunk.dtype), trunk], dim=1)
        folded = self.out(F.silu(self.norm(joined))).float()
        correction, shift = folded.split([self.latent_channels * self.fold**2, self.fold**2], dim=1)
        return (
            F.pixel_shuffle(correction, self.fold),
            clamp_unit(self.start + F.pixel_shuffle(shift, self.fold)),
        )


def drawn(base: Tensor, reference: Tensor, *, from_reference: bool) -> Tensor:
    """What the base draws, ``(B, C, h, w)``, counted from the reference or from nothing."""
    return reference + base if from_reference else base


def anchor(base: Tensor, reference: Tensor, correction: Tensor, kappa: Tensor) -> Tensor:
    """The anchored clean latent.

    Args:
        base: (B, C, h, w), the base's clean latent.
        reference: (B, C, h, w), the reference's latent.
        correction: (B, C, h, w).
        kappa: (B, 1, h, w) in [0, 1].

    Returns:
        (B, C, h, w); exactly ``reference + correction`` where kappa is 1, ``base`` where it is 0.
    """
    return (1 - kappa) * base + kappa * (reference + correction)
