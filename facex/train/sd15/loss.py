# SPDX-License-Identifier: Apache-2.0
"""What is minimised, and which tokens are hidden for guidance."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from facex.fors.conditioner import REFERENCE
from facex.fors.representation_assembler import GROUPS
from facex.frc.base import Level
from facex.train.sd15.config import Sd15Config


def level_weight(level: Level, gamma: float | None, prediction_type: str) -> Tensor:
    """Weight of the squared error *of the clean latent* at a noise level.

    Noise error is SNR times, velocity error SNR + 1 times the error of the clean latent. Min-SNR
    (Hang et al. 2023) weighs them by min(SNR, gamma) / SNR and min(SNR, gamma) / (SNR + 1), which
    is min(SNR, gamma) of the clean latent's error, whatever is predicted.

    Args:
        level: of the samples.
        gamma: limit, or None for the plain error of the prediction.
        prediction_type: of the base.

    Returns:
        The shape of ``level.alpha``.
    """
    snr = (level.alpha / level.sigma.clamp_min(1e-8)).square()
    if gamma is not None:
        return snr.clamp(max=gamma)
    if prediction_type == "sample":
        return torch.ones_like(snr)
    return snr + 1 if prediction_type == "v_prediction" else snr


def latent_loss(
    found: Tensor, clean: Tensor, edit: Tensor, weight: Tensor, outside_weight: float
) -> Tensor:
    """Weighted squared error, the mean over samples, channels and cells.

    Args:
        found: ``(B, C, h, w)``, clean latents as predicted.
        clean: ``(B, C, h, w)``, the answer.
        edit: ``(B, 1, H, W)`` in [0, 1], what may change.
        weight: ``(B, 1, 1, 1)`` from `level_weight`.
        outside_weight: of cells that may not change.

    Returns:
        A number, float32.
    """
    cells = F.interpolate(edit.float(), found.shape[-2:], mode="area")
    place = outside_weight + (1 - outside_weight) * cells
    return ((found.float() - clean) ** 2 * weight * place).mean()


def dropped(
    present: Mapping[str, bool], config: Sd15Config, generator: torch.Generator
) -> dict[str, bool]:
    """Hide whole groups of tokens of one sample, by chance.

    Args:
        present: by token input.
        config: with the shares.
        generator: of this sample.

    Returns:
        ``present`` with the reference's tokens added.
    """
    draws = torch.rand(1 + len(GROUPS), generator=generator).tolist()
    everything = draws[0] < config.drop_all
    shares = {
        "identity": config.drop_identity,
        "motion": config.drop_motion,
        "region": config.drop_region,
    }
    kept = {**present, REFERENCE: not everything}
    for draw, (group, names) in zip(draws[1:], GROUPS.items(), strict=True):
        # "another 45 %" of all samples, not of those that are left
        share = min(1.0, shares[group] / max(1e-9, 1 - config.drop_all))
        if everything or draw < share:
            kept |= {name: False for name in names if name in kept}
    return kept
