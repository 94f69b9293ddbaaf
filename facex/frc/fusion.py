# SPDX-License-Identifier: Apache-2.0
"""Masked latent fusion: outside the edit the latent is the target's (paper, figure 2)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def edit_cells(edit: Tensor, height: int, width: int) -> Tensor:
    """Which latent cells may change: all that hold a pixel that may.

    Args:
        edit: ``(B, 1, H, W)`` in [0, 1].
        height: latent cells down.
        width: latent cells across.

    Returns:
        ``(B, 1, height, width)``, 0 or 1.
    """
    return (F.adaptive_max_pool2d(edit, (height, width)) > 0).to(edit.dtype)


def fuse(latents: Tensor, target: Tensor, cells: Tensor) -> Tensor:
    """Keep ``latents`` where ``cells`` is 1 and the target's elsewhere, exactly."""
    return latents * cells + target * (1 - cells) if bool((cells < 1).any()) else latents
