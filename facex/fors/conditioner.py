# SPDX-License-Identifier: Apache-2.0
"""The conditioner: everything between factors and f_SD, as one saved component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from facex.errors import OptionError
from facex.fors.reference_encoder import FeatureReferenceEncoder, LatentReferenceEncoder
from facex.fors.representation_assembler import RepresentationAssembler
from facex.fors.sd_adapter import SDAdapter

ReferenceKind = Literal["latents", "features"]
REFERENCE = "reference"
"""Name of the reference in ``present``."""


class Conditioner(ModelMixin, ConfigMixin):
    """phi^R, phi^Inp and phi^SD (DESIGN, section 4).

    Args:
        inputs: per factor input its number of tokens and their width; the shapes of
            ``facex.ford.representation.factor_inputs`` without the batch.
        context_dim: width of the base's cross-attention.
        width: d of the tokens before the last projection.
        hidden: inner width of the factors' networks; None: ``width``.
        reference_kind: ``latents`` (mini) or ``features`` of an image encoder (sd15).
        reference_channels: C of the latents, or the width of the features.
        reference_tokens: n, number of reference tokens (a square number for latents).
        fold: side of the square of latent cells that becomes one; for ``latents`` only.
    """

    @register_to_config
    def __init__(
        self,
        inputs: Mapping[str, Sequence[int]],
        context_dim: int = 256,
        width: int = 256,
        hidden: int | None = None,
        reference_kind: ReferenceKind = "latents",
        reference_channels: int = 32,
        reference_tokens: int = 64,
        fold: int = 2,
    ) -> None:
        super().__init__()
        self.representation = RepresentationAssembler(inputs, width, hidden)
        self.reference: nn.Module
        if reference_kind == "latents":
            grid = round(reference_tokens**0.5)
            self.reference = LatentReferenceEncoder(reference_channels, fold, width, grid=grid)
        elif reference_kind == "features":
            self.reference = FeatureReferenceEncoder(reference_channels, width)
        else:
            raise OptionError(
                f"reference_kind is {reference_kind!r}; expected 'latents' or 'features'"
            )
        self.null_reference = nn.Parameter(0.02 * torch.randn(1, reference_tokens, width))
        self.adapter = SDAdapter(width, context_dim)

    def encode_reference(self, reference: Tensor | None, batch: int) -> Tensor:
        """f^Inp, (B, n, width); learned null tokens when there is no reference."""
        if reference is None:
            return self.null_reference.expand(batch, -1, -1)
        return self.reference(reference)

    def assemble(
        self, inputs: Mapping[str, Tensor], present: Mapping[str, Tensor], tokens: Tensor
    ) -> Tensor:
        """f_SD from factors and the finished reference tokens (B, n, width).

        Returns:
            (B, N + n, context_dim).
        """
        here = present.get(REFERENCE)
        if here is not None:
            null = self.null_reference.to(tokens.dtype)
            if tokens.shape[1] != null.shape[1]:
                null = null.mean(dim=1, keepdim=True).expand(-1, tokens.shape[1], -1)
            tokens = torch.where(here.to(tokens.device).view(-1, 1, 1), tokens, null)
        return self.adapter(self.representation(inputs, present), tokens)

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        reference: Tensor | None,
    ) -> Tensor:
        """f_SD of one edit.

        Args:
            inputs: (B, n, D) per factor input.
            present: (B,) bool per factor input, and for ``reference``; missing names are present.
            reference: (B, C + 2, h, w) latents, known and edit mask, or features (B, n, c); None:
                no reference.

        Returns:
            (B, N, context_dim).

        Raises:
            OptionError: inputs of another shape than this model was trained with.
        """
        batch = len(next(iter(inputs.values()), torch.empty(0)))
        return self.assemble(inputs, present, self.encode_reference(reference, batch))
