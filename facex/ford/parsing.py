# SPDX-License-Identifier: Apache-2.0
"""Face parsing: which of 19 CelebAMask-HQ classes every pixel belongs to (DESIGN 3)."""

from __future__ import annotations

from typing import Final

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from facex.ford.layers import FoldedBackbone, ResidualBlock, conv_bn
from facex.types import PARSING_CLASSES

SIDE: Final = 288
"""At which crops are read, and label maps compared in training."""


class ParsingNet(ModelMixin, ConfigMixin):
    """U-shaped parser of aligned crops.

    Args:
        size: side at which the network works; other sizes are resampled.
        channels: widths at 1/2, 1/4, 1/8, 1/16 and 1/32 of ``size``.
        blocks: residual blocks of each stage.
    """

    @register_to_config
    def __init__(
        self,
        size: int = SIDE,
        channels: tuple[int, ...] = (20, 48, 88, 144, 192),
        blocks: tuple[int, ...] = (0, 1, 2, 2, 2),
    ) -> None:
        super().__init__()
        self.backbone = FoldedBackbone(tuple(channels), tuple(blocks))
        self.merge = nn.ModuleList()
        for low, high in zip(channels[:0:-1], channels[-2::-1], strict=True):
            width = max(high, 32)
            self.merge.append(
                nn.ModuleDict(
                    {
                        "lateral": nn.Conv2d(high, width, 1),
                        "top": nn.Conv2d(low if low >= 32 else 32, width, 1),
                        "refine": ResidualBlock(width) if high > 24 else conv_bn(width, width),
                    }
                )
            )
        self.classify = nn.Conv2d(max(channels[0], 32), len(PARSING_CLASSES), 3, padding=1)

    def features(self, images: Tensor, side: int | None = None) -> tuple[Tensor, list[Tensor]]:
        """Logits ``(B, 19, s/2, s/2)`` at half of the network's side s, and its maps, coarse first.

        Args:
            images: ``(B, 3, S, S)`` in [-1, 1] of any side, which is resampled.
            side: s, a multiple of 32; the network's own by default.
        """
        given, size = images.shape[-1], side or self.config["size"]
        if given != size:
            images = F.interpolate(
                images, size=(size, size), mode="bilinear", antialias=given > size
            )
        maps = self.backbone(images)
        x, decoded = maps[-1], [maps[-1]]
        for module, skip in zip(self.merge, maps[-2::-1], strict=True):
            parts = module
            top = F.interpolate(parts["top"](x), scale_factor=2, mode="bilinear")  # type: ignore[index]
            x = parts["refine"](top + parts["lateral"](skip))  # type: ignore[index]
            decoded.append(x)
        return self.classify(x), decoded

    def forward(self, images: Tensor, side: int | None = None) -> Tensor:
        """Return class logits ``(B, 19, S, S)`` of crops ``(B, 3, S, S)`` in [-1, 1]."""
        return self.logits_and_features(images, side)[0]

    def logits_and_features(
        self, images: Tensor, side: int | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits at the size of the input, and the decoder's maps, coarse to fine."""
        logits, maps = self.features(images, side)
        logits, given = _doubled(logits), images.shape[-1]
        if logits.shape[-1] != given:
            logits = F.interpolate(logits, size=(given, given), mode="bilinear")
        return logits, maps


def _doubled(logits: Tensor) -> Tensor:
    """Logits at twice the size.

    They are trained on every second pixel of label maps, the even ones: that is where a cell lies,
    and not in the middle of four pixels.
    """
    size = 2 * logits.shape[-1]
    padded = F.pad(logits, (0, 1, 0, 1), mode="replicate")
    full = F.interpolate(padded, size=(size + 1,) * 2, mode="bilinear", align_corners=True)
    return full[..., :size, :size]
