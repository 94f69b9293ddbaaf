# SPDX-License-Identifier: Apache-2.0
"""Face parsing by BiSeNet (Yu et al. 2018) with the names of the public 79999_iter checkpoint.

The checkpoint numbers the 19 classes of CelebAMask-HQ in another order than the data set's own
colour table, which FaceX uses. They are matched by name, never by number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from facex.ford.sd15.align import normalise, resize
from facex.ford.sd15.loading import FrozenExtractor
from facex.ford.sd15.resnet import ResNet
from facex.types import PARSING_CLASSES

SIZE: Final = 512

BISENET_CLASSES: Final[tuple[str, ...]] = (
    "background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear",
    "ear_r", "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat",
)  # fmt: skip
"""The checkpoint's classes in its own order."""

CHANNEL_OF_CLASS: Final[tuple[int, ...]] = tuple(
    BISENET_CLASSES.index(name) for name in PARSING_CLASSES
)
"""For each class of ``PARSING_CLASSES``, the checkpoint's channel."""


class ConvBNReLU(nn.Module):
    """Convolution without bias, batch norm, ReLU; keeps the size."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, h, w)`` to ``(B, outputs, h, w)``."""
        return F.relu(self.bn(self.conv(x)))


class AttentionRefinement(nn.Module):
    """A convolution whose channels are weighed by the whole picture."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, h, w)`` to ``(B, outputs, h, w)``."""
        x = self.conv(x)
        pooled = x.mean((2, 3), keepdim=True)
        return x * self.bn_atten(self.conv_atten(pooled)).sigmoid()


class ContextPath(nn.Module):
    """ResNet-18 and the two refined coarse maps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.resnet = ResNet(18, width)
        self.arm16 = AttentionRefinement(4 * width, 2 * width)
        self.arm32 = AttentionRefinement(8 * width, 2 * width)
        self.conv_head32 = ConvBNReLU(2 * width, 2 * width)
        self.conv_head16 = ConvBNReLU(2 * width, 2 * width)
        self.conv_avg = ConvBNReLU(8 * width, 2 * width, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the trunk's and the context's map at 1/8, both ``(B, 2 width, H/8, W/8)``."""
        _, at8, at16, at32 = self.resnet(images)
        whole = self.conv_avg(at32.mean((2, 3), keepdim=True))
        x = self.arm32(at32) + whole
        x = self.conv_head32(F.interpolate(x, at16.shape[2:]))
        x = self.conv_head16(F.interpolate(self.arm16(at16) + x, at8.shape[2:]))
        return at8, x


class FeatureFusion(nn.Module):
    """Joins detail and context; channels weighed by the whole picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convblk = ConvBNReLU(channels, channels, 1)
        self.conv1 = nn.Conv2d(channels, channels // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(channels // 4, channels, 1, bias=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """Join two ``(B, channels / 2, h, w)`` maps into one ``(B, channels, h, w)``."""
        x = self.convblk(torch.cat([detail, context], 1))
        weight = self.conv2(F.relu(self.conv1(x.mean((2, 3), keepdim=True)))).sigmoid()
        return x + x * weight


class Head(nn.Module):
    """Class scores."""

    def __init__(self, inputs: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(inputs, hidden)
        self.conv_out = nn.Conv2d(hidden, classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, h, w)`` to ``(B, classes, h, w)``."""
        return self.conv_out(self.conv(x))


class BiSeNet(ModelMixin, ConfigMixin):
    """The parser.

    Args:
        width: channels of the trunk's first layer; 64 in the public checkpoint.
        classes: number of classes.
    """

    @register_to_config
    def __init__(self, width: int = 64, classes: int = 19) -> None:
        super().__init__()
        self.cp = ContextPath(width)
        self.ffm = FeatureFusion(4 * width)
        self.conv_out = Head(4 * width, 4 * width, classes)
        # Two more heads help training only; they are here because the checkpoint has them.
        self.conv_out16 = Head(2 * width, width, classes)
        self.conv_out32 = Head(2 * width, width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Scores ``(B, 19, H, W)`` in the checkpoint's class order of normalised images."""
        scores = self.conv_out(self.ffm(*self.cp(images)))
        return F.interpolate(scores, images.shape[2:], mode="bilinear", align_corners=True)


class BiSeNetExtractor(FrozenExtractor):
    """Provides ``parsing`` (B, S, S) uint8 in the order of ``PARSING_CLASSES``."""

    provides = ("parsing",)

    def __init__(self, net: BiSeNet) -> None:
        super().__init__(net)

    def scores(self, crop: Tensor) -> Tensor:
        """Class scores ``(B, 19, S, S)`` in the order of ``PARSING_CLASSES``; differentiable.

        Args:
            crop: ``(B, 3, S, S)`` in [-1, 1].
        """
        images = normalise(resize(self._fit(crop), SIZE))
        channels = torch.tensor(CHANNEL_OF_CLASS, device=crop.device)
        scores = self.net(images).index_select(1, channels)
        return resize(scores.float(), crop.shape[-1])

    def forward(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Read crops ``(B, 3, S, S)`` in [-1, 1]."""
        return {"parsing": self.scores(crop).argmax(1).to(torch.uint8)}
