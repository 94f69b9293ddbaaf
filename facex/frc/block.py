# SPDX-License-Identifier: Apache-2.0
"""The FRC block and the cache of keys and values (DESIGN, section 6; paper, figure 2).

Order inside a controlled transformer block: self-attention (base), cross-attention (base),
FRC cross-attention, zero projection, feed-forward (base).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor, nn

KeysValues = tuple[Tensor, Tensor]

MAX_CONTEXTS: Final = 4
"""Contexts whose keys and values a layer keeps: the full one, and one without each group."""


class KVCache:
    """Keys and values of a few contexts, kept for as long as a context is the same tensor.

    A few, because guidance shows every layer one context per group in each step. Off unless inside
    ``with cache.enabled():``, and never used while gradients are recorded: in training each
    context is seen once and its keys belong to the graph.
    """

    def __init__(self) -> None:
        self._entries: dict[nn.Module, list[tuple[Tensor, int, KeysValues]]] = {}
        self._on = False

    @property
    def active(self) -> bool:
        """Whether look-ups are answered from memory."""
        return self._on and not torch.is_grad_enabled()

    @contextmanager
    def enabled(self) -> Iterator[None]:
        """Caches inside the block and forgets everything at its end."""
        before, self._on = self._on, True
        try:
            yield
        finally:
            self._on = before
            self._entries.clear()

    def get(
        self, owner: nn.Module, context: Tensor, compute: Callable[[Tensor], KeysValues]
    ) -> KeysValues:
        """Keys and values of ``context`` for one attention layer, computed at most once.

        Args:
            owner: the layer they belong to.
            context: (B, N, d); recognised by identity, not by value.
            compute: makes them.

        Returns:
            What ``compute`` returns.
        """
        if not self.active:
            return compute(context)
        entries = self._entries.setdefault(owner, [])
        version = 0 if context.is_inference() else context._version
        for known, when, found in entries:
            if known is context and when == version:
                return found
        keys_values = compute(context)
        entries.append((context, version, keys_values))
        del entries[:-MAX_CONTEXTS]
        return keys_values


class FRCBlock(nn.Module):
    """LayerNorm, cross-attention of the hidden state to f_SD, zero-initialised projection.

    Args:
        dim: width of the base's hidden state.
        context_dim: width of f_SD.
        heads: attention heads.
        width: inner width, a multiple of ``heads``; None: ``dim``.
    """

    def __init__(self, dim: int, context_dim: int, heads: int, width: int | None = None) -> None:
        super().__init__()
        width = dim if width is None else width
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, width, bias=False)
        self.to_k = nn.Linear(context_dim, width, bias=False)
        self.to_v = nn.Linear(context_dim, width, bias=False)
        self.to_out = nn.Linear(width, dim)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def keys_values(self, context: Tensor) -> KeysValues:
        """Keys and values of f_SD (B, N, context_dim): two of (B, heads, N, width / heads)."""
        return self._split(self.to_k(context)), self._split(self.to_v(context))

    def forward(self, hidden: Tensor, keys_values: KeysValues) -> Tensor:
        """The residual to add to the hidden state.

        Args:
            hidden: (B, L, dim), after the base's self- and cross-attention.
            keys_values: from ``keys_values``, of the same batch.

        Returns:
            (B, L, dim); zero before training.
        """
        query = self._split(self.to_q(self.norm(hidden)))
        attended = F.scaled_dot_product_attention(query, *keys_values)
        return self.to_out(attended.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class CachedCrossAttention:
    """Attention processor of the base's own cross-attention that remembers keys and values.

    Does what ``AttnProcessor2_0`` does for plain token cross-attention, in the same order of
    operations, so that results are bit-identical; anything else is handed on to it.

    Args:
        original: the processor to stand in for.
        cache: where keys and values are kept.
    """

    def __init__(self, original: AttnProcessor2_0, cache: KVCache) -> None:
        self.original = original
        self.cache = cache

    @staticmethod
    def fits(attention: nn.Module) -> bool:
        """Whether an attention layer is plain enough to be cached."""
        plain = all(
            getattr(attention, name, None) is None
            for name in ("spatial_norm", "group_norm", "norm_cross", "norm_q", "norm_k")
        )
        return plain and type(getattr(attention, "processor", None)) is AttnProcessor2_0

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attends (B, L, dim) to (B, N, d); the signature is diffusers'."""
        if (
            not self.cache.active
            or encoder_hidden_states is None
            or attention_mask is not None
            or hidden_states.ndim != 3
        ):
            return self.original(attn, hidden_states, encoder_hidden_states, attention_mask, temb)

        def split(tokens: Tensor) -> Tensor:
            return tokens.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        def keys_values(context: Tensor) -> KeysValues:
            return split(attn.to_k(context)), split(attn.to_v(context))

        keys, values = self.cache.get(attn, encoder_hidden_states, keys_values)
        attended = F.scaled_dot_product_attention(split(attn.to_q(hidden_states)), keys, values)
        projected = attn.to_out[1](attn.to_out[0](attended.transpose(1, 2).flatten(2)))
        if attn.residual_connection:
            projected = projected + hidden_states
        return projected / attn.rescale_output_factor
