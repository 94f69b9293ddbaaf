# SPDX-License-Identifier: Apache-2.0
"""Gaze by L2CS-Net (Abdelrahman et al. 2022) with the names of the public checkpoints.

Two heads put each angle into bins; the angle is the expectation over the bins. In the
checkpoints' own frame a positive yaw looks to the picture's left, so its sign is turned here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from facex.ford.sd15.align import face_box_crop, normalise
from facex.ford.sd15.loading import FrozenExtractor
from facex.ford.sd15.resnet import ResNet, adopt_trunk, trunk_maps

SIZE: Final = 448


class L2CSNet(ModelMixin, ConfigMixin):
    """ResNet-50 with a yaw and a pitch head.

    Args:
        width: channels of the trunk's first layer; 64 in the public checkpoints.
        bins: 90 for the Gaze360 checkpoint, 28 for the MPIIGaze ones.
        bin_degrees: width of a bin: 4 for Gaze360, 3 for MPIIGaze. Bin k means
            ``(k - bins / 2) * bin_degrees``.
    """

    @register_to_config
    def __init__(self, width: int = 64, bins: int = 90, bin_degrees: float = 4.0) -> None:
        super().__init__()
        trunk = ResNet(50, width)
        adopt_trunk(self, trunk)
        self.fc_yaw_gaze = nn.Linear(trunk.channels, bins)
        self.fc_pitch_gaze = nn.Linear(trunk.channels, bins)
        # Unused, but every public checkpoint carries it.
        self.fc_finetune = nn.Linear(trunk.channels + 3, 3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the bins ``(B, bins)`` of yaw and of pitch of normalised face crops."""
        pooled = trunk_maps(self, images)[-1].mean((2, 3))
        return self.fc_yaw_gaze(pooled), self.fc_pitch_gaze(pooled)

    def angle(self, scores: Tensor) -> Tensor:
        """Expected angle ``(B,)`` in radians, in the checkpoint's own signs, of ``(B, bins)``."""
        bins = self.config["bins"]
        centres = torch.arange(bins, device=scores.device, dtype=torch.float32) - bins / 2
        expected = (scores.float().softmax(1) * centres).sum(1)
        return expected * math.radians(self.config["bin_degrees"])


class L2CSExtractor(FrozenExtractor):
    """Provides ``gaze`` (B, 2, 2); needs ``landmarks``. Both eyes get the face's one direction."""

    provides = ("gaze",)
    net: L2CSNet

    def __init__(self, net: L2CSNet) -> None:
        super().__init__(net)

    def forward(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Read crops ``(B, 3, S, S)`` in [-1, 1]; differentiable.

        Returns:
            ``gaze``: [right eye, left eye] x [pitch, yaw], radians, pitch + up and yaw + to the
            picture's right.
        """
        images = normalise(face_box_crop(self._fit(crop), fields["landmarks"], SIZE))
        yaw_scores, pitch_scores = self.net(images)
        pitch, yaw = self.net.angle(pitch_scores), -self.net.angle(yaw_scores)
        direction = torch.stack([pitch, yaw], 1)
        return {"gaze": direction[:, None].expand(-1, 2, -1).contiguous()}
