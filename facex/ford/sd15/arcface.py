# SPDX-License-Identifier: Apache-2.0
"""Identity by ArcFace (Deng et al. 2019): iresnet-50 and -100, names of the public checkpoints.

The paper flattens the recogniser's last spatial map into identity tokens (section 3.1 and its
figure); the pooled embedding serves comparisons and losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from facex.ford.sd15.align import arcface_crop
from facex.ford.sd15.loading import FrozenExtractor

IRESNET50: Final = (3, 4, 14, 3)
IRESNET100: Final = (3, 13, 30, 3)
SIZE: Final = 112
_CELLS: Final = 7


class IBlock(nn.Module):
    """Pre-normalised residual block of iresnet; nothing follows the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, h, w)`` to ``(B, outputs, h / stride, w / stride)``."""
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        y = self.bn3(self.conv2(y))
        return y + (x if self.downsample is None else self.downsample(x))


class ArcFaceNet(ModelMixin, ConfigMixin):
    """The recogniser.

    Args:
        layers: blocks of each layer: :data:`IRESNET50` or :data:`IRESNET100`.
        width: channels of the first layer; 64 in the public checkpoints.
        embedding_dim: width of the embedding.
    """

    @register_to_config
    def __init__(
        self,
        layers: tuple[int, ...] = IRESNET50,
        width: int = 64,
        embedding_dim: int = 512,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        inputs = width
        for index, count in enumerate(layers):
            outputs = width * 2**index
            blocks = [IBlock(inputs, outputs, 2)]
            blocks += [IBlock(outputs, outputs, 1) for _ in range(count - 1)]
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
            inputs = outputs
        self.bn2 = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs * _CELLS**2, embedding_dim)
        self.features = nn.BatchNorm1d(embedding_dim)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Read upright crops ``(B, 3, 112, 112)`` in [-1, 1].

        Returns:
            The last map as tokens ``(B, 49, 8 width)`` in row order, and unit embeddings
            ``(B, embedding_dim)``.
        """
        x = self.prelu(self.bn1(self.conv1(images)))
        for index in range(1, 5):
            x = self.get_submodule(f"layer{index}")(x)
        embedding = self.features(self.fc(self.bn2(x).flatten(1)))
        return x.flatten(2).transpose(1, 2), F.normalize(embedding, dim=1)


class ArcFaceExtractor(FrozenExtractor):
    """Provides ``identity_tokens`` (B, 49, 512) and ``identity`` (B, 512); needs ``landmarks``."""

    provides = ("identity_tokens", "identity")

    def __init__(self, net: ArcFaceNet) -> None:
        super().__init__(net)

    def forward(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Read crops ``(B, 3, S, S)`` in [-1, 1]; differentiable."""
        tokens, embedding = self.net(arcface_crop(self._fit(crop), fields["landmarks"], SIZE))
        # Normalised again in full precision: half precision is off by up to a per mille.
        return {
            "identity_tokens": tokens.float(),
            "identity": F.normalize(embedding.float(), dim=1),
        }
