# SPDX-License-Identifier: Apache-2.0
"""The contract that both scales meet: a frozen latent diffusion model, seen from outside.

mini and sd15 differ only here (DESIGN, section 10): how many latent channels, how wide the
context, and whether latents are folded. Controller, sampler and trainer see nothing else.
UNet, autoencoder and scheduler are diffusers' own classes, unmodified.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from facex.errors import OptionError

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


class Level(NamedTuple):
    """A noise level: ``noisy = alpha * clean + sigma * noise`` with alpha² + sigma² = 1.

    Attributes:
        alpha: share of the clean latent, any shape that broadcasts to (B, C, h, w).
        sigma: share of the noise, same shape.
    """

    alpha: Tensor
    sigma: Tensor

    def mix(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Noisy latents of this level, (B, C, h, w)."""
        return self.alpha * clean + self.sigma * noise

    def to(self, device: torch.device) -> Level:
        """The same level on another device."""
        return Level(self.alpha.to(device), self.sigma.to(device))


@dataclass
class Base:
    """A base model: UNet, autoencoder and scheduler in diffusers' own layout.

    Latents outside are always (B, C, h, w), float32 and scaled to about unit variance. Inside,
    the UNet may see them folded: ``fold`` x ``fold`` cells become one with ``fold²`` as many
    channels, which makes the same network about four times cheaper (DESIGN, section 10).

    Args:
        unet: a ``UNet2DConditionModel``.
        vae: an autoencoder with ``encode`` and ``decode`` in diffusers' manner.
        scheduler: any diffusers scheduler with ``alphas_cumprod``.

    Raises:
        OptionError: the parts do not fit together.
    """

    unet: Any
    vae: Any
    scheduler: Any

    def __post_init__(self) -> None:
        """Checks that UNet, autoencoder and scheduler fit together."""
        fold_squared = self.unet.config.in_channels / self.latent_channels
        if fold_squared < 1 or math.isqrt(int(fold_squared)) ** 2 != fold_squared:
            raise OptionError(
                f"the UNet takes {self.unet.config.in_channels} channels, which is no square "
                f"multiple of the autoencoder's {self.latent_channels}: they do not belong together"
            )
        if not hasattr(self.scheduler, "alphas_cumprod"):
            raise OptionError(
                f"{type(self.scheduler).__name__} has no alphas_cumprod; use a scheduler of the "
                "DDPM family such as DDIM, DPMSolverMultistep or Euler"
            )
        if self.prediction_type not in PREDICTION_TYPES:
            raise OptionError(
                f"prediction type {self.prediction_type!r} is not supported; "
                f"expected one of {', '.join(PREDICTION_TYPES)}"
            )

    @property
    def latent_channels(self) -> int:
        """C of the latents (B, C, h, w): 32 for mini, 4 for sd15."""
        return int(self.vae.config.latent_channels)

    @property
    def fold(self) -> int:
        """Side of the square of latent cells that the UNet sees as one: 2 for mini, 1 for sd15."""
        return math.isqrt(int(self.unet.config.in_channels) // self.latent_channels)

    @property
    def context_dim(self) -> int:
        """Width of the tokens that the base's cross-attention takes."""
        return int(self.unet.config.cross_attention_dim)

    @property
    def downscale(self) -> int:
        """Pixels per latent cell and side."""
        config = self.vae.config
        if "downscale" in config:
            return int(config["downscale"])
        channels = config.get("block_out_channels")
        return 2 ** (len(channels) - 1) if channels else 8

    @property
    def prediction_type(self) -> str:
        """What the UNet predicts: ``epsilon``, ``v_prediction`` or ``sample``."""
        return str(self.scheduler.config.prediction_type)

    @property
    def device(self) -> torch.device:
        """Where the UNet lives."""
        return torch.device(self.unet.device)

    def encode(self, images: Tensor) -> Tensor:
        """Latents of pictures: the mode of the posterior, scaled.

        Args:
            images: (B, 3, H, W) in [-1, 1], H and W multiples of ``downscale * fold``.

        Returns:
            (B, C, H / downscale, W / downscale), float32.
        """
        encoded = self.vae.encode(images.to(self.vae.dtype))
        latents = encoded.latent_dist.mode() if "latent_dist" in encoded else encoded.latents
        shift, scale = self._scaling()
        return (latents.float() - shift) * scale

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of latents (B, C, h, w): (B, 3, H, W), about [-1, 1], float32, not clamped."""
        shift, scale = self._scaling()
        decoded = self.vae.decode((latents / scale + shift).to(self.vae.dtype))
        return decoded.sample.float()

    def predict(self, latents: Tensor, t: Tensor, context: Tensor, **unet_inputs: Any) -> Tensor:
        """One evaluation of the UNet.

        Args:
            latents: (B, C, h, w) at the variance that the UNet was trained with.
            t: timesteps, () or (B,).
            context: (B, N, context_dim).
            **unet_inputs: more arguments of ``UNet2DConditionModel.forward``.

        Returns:
            (B, C, h, w) of the scheduler's prediction type, float32.
        """
        folded = self.fold_latents(latents).to(self.unet.dtype)
        output = self.unet(
            folded, t, encoder_hidden_states=context.to(self.unet.dtype), **unet_inputs
        )
        return self.unfold_latents(output.sample).float()

    def fold_latents(self, latents: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C fold², h / fold, w / fold)."""
        return F.pixel_unshuffle(latents, self.fold) if self.fold > 1 else latents

    def unfold_latents(self, folded: Tensor) -> Tensor:
        """(B, C fold², h / fold, w / fold) -> (B, C, h, w)."""
        return F.pixel_shuffle(folded, self.fold) if self.fold > 1 else folded

    def level(self, t: Tensor) -> Level:
        """The noise level of timesteps () or (B,), shaped to broadcast over (B, C, h, w).

        Some schedulers (Euler) stop between two timesteps; the ratio of noise to signal is then
        interpolated, as they do.
        """
        alphas_cumprod = self.scheduler.alphas_cumprod.to(t.device, torch.float32)
        share = alphas_cumprod[t.long()]
        between = t.frac() if t.is_floating_point() else None
        if between is not None and bool((between > 0).any()):
            above = alphas_cumprod[(t.long() + 1).clamp(max=len(alphas_cumprod) - 1)]
            low, high = (((1 - part) / part).sqrt() for part in (share, above))
            ratio = low + between.float() * (high - low)
            share = torch.where(between > 0, 1 / (1 + ratio.square()), share)
        share = share.reshape(-1, 1, 1, 1)
        return Level(share.sqrt(), (1 - share).sqrt())

    def to_clean(self, output: Tensor, latents: Tensor, t: Tensor | Level) -> Tensor:
        """The clean latent that a prediction means.

        Args:
            output: (B, C, h, w), what the UNet said.
            latents: (B, C, h, w), what it was shown.
            t: whole timesteps, or the noise level itself.

        Returns:
            (B, C, h, w).
        """
        alpha, sigma = t if isinstance(t, Level) else self.level(t)
        if self.prediction_type == "sample":
            return output
        if self.prediction_type == "v_prediction":
            return alpha * latents - sigma * output
        return (latents - sigma * output) / alpha.clamp_min(1e-6)

    def from_clean(self, clean: Tensor, latents: Tensor, t: Tensor | Level) -> Tensor:
        """The prediction that means this clean latent; the inverse of ``to_clean``."""
        alpha, sigma = t if isinstance(t, Level) else self.level(t)
        if self.prediction_type == "sample":
            return clean
        sigma = sigma.clamp_min(1e-6)
        if self.prediction_type == "v_prediction":
            return (alpha * latents - clean) / sigma
        return (latents - alpha * clean) / sigma

    def _scaling(self) -> tuple[float, float]:
        config = self.vae.config
        shift = config.get("shift_factor")
        scale = config.get("scaling_factor")
        return (0.0 if shift is None else shift), (1.0 if scale is None else scale)


def mini_unet(
    block_out_channels: tuple[int, ...] = (128, 160, 160),
    *,
    channels: int = 128,
    context_dim: int = 256,
    layers_per_block: int = 1,
    head_width: int = 32,
    sample_size: int = 16,
) -> UNet2DConditionModel:
    """A fresh UNet of mini's shape: cross-attention at every resolution, random weights.

    Args:
        block_out_channels: widths of the stages, multiples of 32.
        channels: folded latent channels (32 latent channels folded 2 x 2).
        context_dim: width of the context tokens.
        layers_per_block: residual blocks per down stage.
        head_width: channels per attention head.
        sample_size: cells per side of the folded latents.

    Returns:
        A diffusers ``UNet2DConditionModel``.
    """
    stages = len(block_out_channels)
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=channels,
        out_channels=channels,
        down_block_types=("CrossAttnDownBlock2D",) * stages,
        up_block_types=("CrossAttnUpBlock2D",) * stages,
        block_out_channels=block_out_channels,
        layers_per_block=layers_per_block,
        cross_attention_dim=context_dim,
        # diffusers calls the number of heads "attention_head_dim"
        attention_head_dim=tuple(max(1, width // head_width) for width in block_out_channels),
        norm_num_groups=math.gcd(32, *block_out_channels),
    )


def mini_scheduler() -> DDIMScheduler:
    """Mini's noise schedule: the clean latent itself is predicted, few-step friendly.

    With v-prediction a base that has seen few faces leaves noise wherever it must draw; predicting
    the clean latent it leaves blur at worst (docs/training-log.md).

    Zero terminal signal (Lin et al. 2024, "Common diffusion noise schedules and sample steps are
    flawed") and trailing steps: the first of few steps really starts from pure noise, as in
    training.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="sample",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        clip_sample=False,
        set_alpha_to_one=True,
    )
