# SPDX-License-Identifier: Apache-2.0
"""phi^SD: tokens of representation and reference -> the base's own context space."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SDAdapter(nn.Module):
    """One projection of [f^Rep; f^Inp] to f^SD (DESIGN, section 4).

    The frozen cross-attention of the base was trained on layer-normalised text tokens, so f^SD is
    normalised too.

    Args:
        width: d of the tokens.
        context_dim: width of the base's cross-attention.
    """

    def __init__(self, width: int, context_dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, context_dim)
        self.norm = nn.LayerNorm(context_dim)

    def forward(self, representation: Tensor, reference: Tensor) -> Tensor:
        """Joins (B, N, width) and (B, n, width) to (B, N + n, context_dim)."""
        tokens = torch.cat([representation, reference.to(representation.dtype)], dim=1)
        return self.norm(self.project(tokens))
