# SPDX-License-Identifier: Apache-2.0
"""The last look at an edit, in pixels: seams, patches of light, blurred eyes.

The base draws latents, cells of 8 or 16 px; what gives an edit away is finer than that. So a small
network looks at the picture that would be pasted, surroundings included, and corrects it inside of
the edit, as the conditional decoder of asymmetric VQGANs (Zhu et al. 2023) and the networks of
image harmonization (Cong et al. 2020) do. What is smooth of a change, light and tint, is a map of
gains and offsets, which keeps every pore (PCT-Net, Guerreiro et al. 2023); the rest is drawn. The
last layers start at zero: untrained it changes nothing.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from facex.frc.native import box_blur
from facex.frc.spatial import norm, zero_conv

GEOMETRY = 3
"""Channels of the position map."""
_SMOOTH = 5
"""Cells over which a map of tones is smoothed."""


class _Residual(nn.Module):
    """Two convolutions beside a skip, without normalisation, which would wash colours out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = zero_conv(channels, channels, kernel=3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class _Attention(nn.Module):
    """Self-attention over all cells of the coarsest map: light is one for the whole picture."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero_conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        parts = self.qkv(self.norm(x)).reshape(batch, 3, self.heads, -1, height * width)
        query, key, value = parts.mT.unbind(1)
        found = F.scaled_dot_product_attention(query, key, value)
        return x + self.out(found.mT.reshape(batch, channels, height, width))


class Harmonizer(ModelMixin, ConfigMixin):
    """A U-net over a composite at a quarter of its resolution, pixels folded into channels.

    Args:
        widths: channels at 1/4, 1/8 and 1/16 of the resolution.
        blocks: residual blocks at each, on the way down; as many on the way up but the last.
        heads: of the attention at the coarsest.
        fold: side of the square of pixels that is one cell.
        tone: whether smooth changes have a map of their own.
    """

    @register_to_config
    def __init__(
        self,
        widths: tuple[int, ...] = (64, 96, 128),
        blocks: tuple[int, ...] = (3, 3, 3),
        heads: int = 4,
        fold: int = 4,
        tone: bool = False,
    ) -> None:
        super().__init__()
        channels = 3 + 1 + 1 + GEOMETRY
        self.entry = nn.Conv2d(channels * fold**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList(_blocks(w, n) for w, n in zip(widths, blocks, strict=True))
        self.narrow = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.attention = _Attention(widths[-1], heads)
        self.widen = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(_blocks(w, n) for w, n in zip(widths[:-1], blocks, strict=False))
        self.exit = nn.Sequential(nn.SiLU(), zero_conv(widths[0], 3 * fold**2, kernel=3))
        self.tones = nn.ModuleList()
        if tone:
            self.tones.extend(zero_conv(width, 2 * 3) for width in (widths[-1], widths[0]))

    def forward(self, composite: Tensor, known: Tensor, edit: Tensor, geometry: Tensor) -> Tensor:
        """The change that makes an edit one picture.

        Args:
            composite: ``(B, 3, S, S)`` in [-1, 1], the edit in its surroundings.
            known: ``(B, 1, S, S)`` in [0, 1], how far the reference is known.
            edit: ``(B, 1, S, S)`` in [0, 1], what may change.
            geometry: ``(B, 3, S, S)`` in [-1, 1], position map of the result's mesh.

        Returns:
            ``(B, 3, S, S)``, to be added; 0 wherever ``edit`` is.
        """
        seen = torch.cat([composite, known, edit, geometry], 1)
        x = self.entry(F.pixel_unshuffle(seen, self.config["fold"]))
        skips = []
        for level, body in enumerate(self.down):
            x = body(x)
            if level < len(self.narrow):
                skips.append(x)
                x = self.narrow[level](x)
        coarse = x = self.attention(x)
        for level in reversed(range(len(self.up))):
            wide = F.interpolate(self.widen[level](x), scale_factor=2.0, mode="nearest")
            x = self.up[level](wide + skips[level])
        change = F.pixel_shuffle(self.exit(x), self.config["fold"]).to(composite.dtype)
        if self.tones:
            change = change + self._tone(composite, coarse, x)
        return change * edit

    def _tone(self, composite: Tensor, coarse: Tensor, fine: Tensor) -> Tensor:
        """What smooth gains and offsets change of the picture."""
        size = composite.shape[-2:]
        first, second = self.tones
        field = torch.zeros((), device=composite.device)
        for part in (first(coarse), box_blur(second(fine).float(), _SMOOTH)):
            grown = F.interpolate(part.float(), size, mode="bilinear", align_corners=False)
            field = field + grown
        gain, offset = field.to(composite.dtype).chunk(2, 1)
        return (composite + 1) * gain.expm1() + 2 * offset


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Residual(width) for _ in range(count)))
