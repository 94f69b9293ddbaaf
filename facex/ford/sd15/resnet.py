# SPDX-License-Identifier: Apache-2.0
"""ResNet-18 and -50 (He et al. 2016) with the parameter names of the public checkpoints.

``conv1, bn1, layer1.0.conv1, layer1.0.bn1, ..., layer1.0.downsample.0, ...``; the stride of a
bottleneck sits in its 3x3 convolution. Three of the sd15 extractors stand on this.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn
from torch.nn import functional as F

DEPTHS: Final[dict[int, tuple[int, int, int, int]]] = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
"""Blocks in each of the four layers."""


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions."""

    expansion: Final = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, h, w)`` to ``(B, width, h / stride, w / stride)``."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; four times as many channels out as ``width``."""

    expansion: Final = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, h, w)`` to ``(B, 4 width, h / stride, w / stride)``."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def _layer(
    block: type[BasicBlock] | type[Bottleneck], inputs: int, width: int, count: int, stride: int
) -> nn.Sequential:
    first = block(inputs, width, stride)
    outputs = width * block.expansion
    return nn.Sequential(first, *(block(outputs, width, 1) for _ in range(count - 1)))


class ResNet(nn.Module):
    """The trunk: four layers, no head.

    Args:
        depth: 18 or 50.
        width: channels of the first layer's 3x3 convolutions; 64 in every public checkpoint.
    """

    def __init__(self, depth: int = 50, width: int = 64) -> None:
        super().__init__()
        block: type[BasicBlock] | type[Bottleneck] = BasicBlock if depth < 50 else Bottleneck
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for index, count in enumerate(DEPTHS[depth]):
            layer = _layer(block, inputs, width * 2**index, count, 1 if index == 0 else 2)
            self.add_module(f"layer{index + 1}", layer)
            inputs = width * 2**index * block.expansion
        self.channels = inputs

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps at 1/4, 1/8, 1/16 and 1/32 of ``(B, 3, H, W)`` images."""
        return trunk_maps(self, images)


def trunk_maps(net: nn.Module, images: Tensor) -> list[Tensor]:
    """Run the trunk of any module that has the trunk's children under the trunk's names."""
    x = F.relu(net.get_submodule("bn1")(net.get_submodule("conv1")(images)))
    x = F.max_pool2d(x, 3, 2, 1)
    maps = []
    for index in range(1, 5):
        x = net.get_submodule(f"layer{index}")(x)
        maps.append(x)
    return maps


def adopt_trunk(net: nn.Module, trunk: ResNet) -> None:
    """Make the trunk's children children of ``net``, for checkpoints that have no prefix."""
    for name, child in trunk.named_children():
        net.add_module(name, child)
