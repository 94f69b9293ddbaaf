# SPDX-License-Identifier: Apache-2.0
"""Identity: a small face-recognition network (paper, section 3.1: spatial map as tokens)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from facex.ford.layers import FoldedBackbone, conv_bn, sample_affine, similarity_from_points

ALIGN_POINTS: Final = (468, 473, 1, 61, 291)
"""Landmarks used for alignment: iris centres, nose tip, mouth corners."""

# The usual 112 px recognition crop: eyes at 46 % of the height, mouth at 82 %.
_TEMPLATE: Final = (
    (38.3, 51.6), (73.5, 51.6), (56.0, 71.7), (41.5, 92.3), (70.7, 92.3),
)  # fmt: skip


def align_for_identity(images: Tensor, landmarks: Tensor, size: int = 112) -> Tensor:
    """Cut the upright recognition crop out of faces, differentiably.

    Args:
        images: ``(B, 3, H, W)`` in [-1, 1].
        landmarks: ``(B, 478, 3)`` (or 2) in pixels of the images.
        size: side of the result.

    Returns:
        ``(B, 3, size, size)``.
    """
    template = torch.tensor(_TEMPLATE, device=images.device, dtype=torch.float32) * (size / 112)
    points = landmarks[:, list(ALIGN_POINTS), :2].float()
    image_from_patch = similarity_from_points(template.expand(len(points), -1, -1), points)
    return sample_affine(images, image_from_patch.to(images.dtype), (size, size))


class IdentityNet(ModelMixin, ConfigMixin):
    """Recognition network: 49 tokens and a unit vector.

    Args:
        channels: widths at 1/2, 1/4, 1/8 and 1/16 of 112 px.
        blocks: residual blocks of each stage.
        token_dim: width of the 7x7 tokens.
        embedding_dim: width of the pooled embedding.
        rank: width between the tokens and the embedding, None for a full matrix.
    """

    @register_to_config
    def __init__(
        self,
        channels: tuple[int, ...] = (32, 64, 112, 192),
        blocks: tuple[int, ...] = (1, 2, 2, 2),
        token_dim: int = 64,
        embedding_dim: int = 512,
        rank: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = FoldedBackbone(tuple(channels), tuple(blocks))
        self.tokens = conv_bn(channels[-1], token_dim, kernel=1)
        wide = 49 * token_dim
        self.embed: nn.Module = nn.Linear(wide, embedding_dim)
        if rank is not None:
            narrow = nn.Linear(wide, rank, bias=False)
            self.embed = nn.Sequential(narrow, nn.Linear(rank, embedding_dim))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Read recognition crops ``(B, 3, 112, 112)`` in [-1, 1].

        Returns:
            Tokens ``(B, 49, token_dim)`` and unit embeddings ``(B, embedding_dim)``.
        """
        grid = self.tokens(self.backbone(images)[-1])
        return grid.flatten(2).transpose(1, 2), F.normalize(self.embed(grid.flatten(1)), dim=1)


class IdentityExtractor:
    """Provides ``identity_tokens`` and ``identity``; needs ``landmarks`` for the alignment."""

    provides = ("identity_tokens", "identity")

    def __init__(self, net: IdentityNet) -> None:
        self.net = net

    @torch.no_grad()
    def __call__(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read an aligned crop ``(B, 3, S, S)``."""
        tokens, embedding = self.net(align_for_identity(crop, fields["landmarks"]))
        return {"identity_tokens": tokens.float(), "identity": embedding.float()}
