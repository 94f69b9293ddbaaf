# SPDX-License-Identifier: Apache-2.0
"""Gaze: where each eye looks, in the camera frame (DESIGN 3)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from facex.ford.layers import conv_bn, sample_affine, stage

EYE_CORNERS: Final = ((33, 133), (362, 263))
"""Picture-left and picture-right corner of the right and of the left eye."""

PATCH: Final = (32, 48)
"""Height and width of an eye patch; the eye itself is 30 px wide in it."""


def eye_patches(images: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Cut out both eyes, upright along their corners.

    Args:
        images: ``(B, 3, H, W)`` in [-1, 1].
        landmarks: ``(B, 478, 3)`` in pixels of the images.

    Returns:
        Patches ``(B, 2, 3, 32, 48)`` (right eye, left eye) and the turn of each patch against the
        picture ``(B, 2)`` in radians, clockwise positive.
    """
    patches, turns = [], []
    height, width = PATCH
    for a, b in EYE_CORNERS:
        left, right = landmarks[:, a, :2], landmarks[:, b, :2]
        centre, along = (left + right) / 2, (right - left) / 30.0
        across = torch.stack([-along[:, 1], along[:, 0]], -1)
        shift = centre - along * (width / 2) - across * (height / 2)
        matrix = torch.stack([along, across, shift], -1)
        patches.append(sample_affine(images, matrix.to(images.dtype), PATCH))
        turns.append(torch.atan2(along[:, 1], along[:, 0]))
    return torch.stack(patches, 1), torch.stack(turns, 1)


def head_angles(landmarks: Tensor) -> Tensor:
    """Rough head angles straight from the landmarks' depth, for the gaze network only.

    Args:
        landmarks: ``(B, 478, 3)``.

    Returns:
        ``(B, 3)``: yaw, pitch, roll in radians (signs of ``facex.types``; pitch has an offset).
    """
    across = landmarks[:, 263] - landmarks[:, 33]
    down = landmarks[:, 152] - landmarks[:, 10]
    yaw = torch.atan2(across[:, 2], across[:, :2].norm(dim=1))
    pitch = torch.atan2(down[:, 2], down[:, :2].norm(dim=1))
    roll = torch.atan2(across[:, 1], across[:, 0])
    return torch.stack([yaw, pitch, roll], 1)


class GazeNet(ModelMixin, ConfigMixin):
    """Direction of each eye from its patch and the head's pose.

    The left eye is mirrored, so one set of weights sees right eyes only.

    Args:
        channels: widths at full, 1/2, 1/4 and 1/8 resolution of the patch.
        hidden: width of the hidden layer.
    """

    @register_to_config
    def __init__(self, channels: tuple[int, ...] = (16, 32, 64, 96), hidden: int = 96) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            conv_bn(3, channels[0]),
            *(stage(a, b, 1) for a, b in pairwise(channels)),
        )
        cells = (PATCH[0] // 8) * (PATCH[1] // 8)
        self.eye = nn.Sequential(nn.Flatten(), nn.Linear(channels[-1] * cells, hidden), nn.SiLU())
        self.head = nn.Sequential(
            nn.Linear(2 * hidden + 3, hidden), nn.SiLU(), nn.Linear(hidden, 2)
        )

    def forward(self, patches: Tensor, angles: Tensor) -> Tensor:
        """Estimate the gaze.

        Args:
            patches: ``(B, 2, 3, 32, 48)`` from :func:`eye_patches`.
            angles: ``(B, 3)`` from :func:`head_angles`.

        Returns:
            ``(B, 2, 2)``: right and left eye, pitch and yaw in radians, camera frame.
        """
        count = len(patches)
        flipped = torch.stack([patches[:, 0], patches[:, 1].flip(-1)], 1)
        codes = self.eye(self.trunk(flipped.flatten(0, 1))).unflatten(0, (count, 2))
        mirror = torch.tensor([-1.0, 1.0, -1.0], device=angles.device, dtype=angles.dtype)
        # Each eye is read with itself first and the other second, in its own mirrored frame.
        right = self.head(torch.cat([codes[:, 0], codes[:, 1], angles], 1))
        left = self.head(torch.cat([codes[:, 1], codes[:, 0], angles * mirror], 1))
        back = torch.tensor([1.0, -1.0], device=angles.device, dtype=left.dtype)
        return torch.stack([right, left * back], 1)


class GazeExtractor:
    """Provides ``gaze``; needs ``landmarks``."""

    provides = ("gaze",)

    def __init__(self, net: GazeNet) -> None:
        self.net = net

    @torch.no_grad()
    def __call__(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read an aligned crop ``(B, 3, S, S)``."""
        patches, _ = eye_patches(crop, fields["landmarks"])
        return {"gaze": self.net(patches, head_angles(fields["landmarks"])).float()}
