# SPDX-License-Identifier: Apache-2.0
"""Motion of the face: 478 landmarks and 52 named expression coefficients (DESIGN 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from facex.ford.heat_maps import SHARPEN, expected_positions, merged
from facex.ford.layers import FoldedBackbone, conv_bn
from facex.ford.refine import LandmarkRefiner
from facex.types import BLENDSHAPES, LANDMARK_COUNT


class BlendshapeHead(nn.Module):
    """Expression from the shape of the landmarks alone.

    What the points do not show cannot be posed by them either; and a head on the image features
    hardly leaves the mean expression in the time in which this one is exact.

    Args:
        hidden: width of the two hidden layers.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, hidden: int = 192) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(LANDMARK_COUNT * 2, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, len(BLENDSHAPES)),
        )
        self.register_buffer("mean", torch.zeros(LANDMARK_COUNT * 2))
        self.register_buffer("std", torch.ones(LANDMARK_COUNT * 2))

    @staticmethod
    def normalise(points: Tensor) -> Tensor:
        """Remove place, size and roll of landmarks ``(B, 478, 2 or 3)``: ``(B, 956)``."""
        xy = points[..., :2] - points[..., :2].mean(1, keepdim=True)
        axis = xy[:, 263] - xy[:, 33]
        axis = axis / axis.norm(dim=1, keepdim=True).clamp_min(1e-6)
        turn = torch.stack([axis, torch.stack([-axis[:, 1], axis[:, 0]], 1)], 1)
        upright = xy @ turn.mT
        return (upright / upright.square().mean((1, 2), keepdim=True).sqrt()).flatten(1)

    def forward(self, points: Tensor) -> Tensor:
        """Blendshapes ``(B, 52)`` in [0, 1] of landmarks in any frame with square pixels."""
        flat = (self.normalise(points) - self.mean) / self.std
        result: Tensor = self.layers(flat).sigmoid()
        return result


class MotionNet(ModelMixin, ConfigMixin):
    """Landmarks and blendshapes of one roughly centred face.

    Heat maps find ``keypoints`` points by their expected position, which follows turns and shifts
    of the face by construction; a linear layer completes them to all landmarks, and a global
    branch adds what the keypoints cannot say.

    Args:
        size: side of the network's input in pixels; larger crops are shrunk first.
        channels: width of the stages at 1/2, 1/4, 1/8 and 1/16 of ``size``.
        blocks: residual blocks of each stage.
        keypoints: landmarks that have a heat map (at 1/4 of ``size``).
        width: channels of the merged maps.
        hidden: width of the global branch.
    """

    @register_to_config
    def __init__(
        self,
        size: int = 128,
        channels: tuple[int, ...] = (24, 64, 112, 160),
        blocks: tuple[int, ...] = (1, 2, 2, 2),
        keypoints: tuple[int, ...] = tuple(range(0, 478, 5)),
        width: int = 64,
        hidden: int = 256,
    ) -> None:
        super().__init__()
        self.backbone = FoldedBackbone(tuple(channels), tuple(blocks))
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels[1:])
        self.refine = nn.ModuleList(conv_bn(width, width) for _ in channels[2:])
        count = len(keypoints)
        self.heat = nn.Conv2d(width, count, 1)
        self.reduce = conv_bn(channels[-1], 32, kernel=1)
        cells = (size // 16) ** 2
        self.neck = nn.Sequential(nn.Flatten(), nn.Linear(32 * cells, hidden), nn.SiLU())
        self.complete = nn.Linear(2 * count, LANDMARK_COUNT * 3)
        self.correct = nn.Linear(hidden, LANDMARK_COUNT * 3)
        nn.init.zeros_(self.correct.weight)
        nn.init.zeros_(self.correct.bias)
        self.blendshapes = BlendshapeHead()

    def heat_maps(self, maps: list[Tensor]) -> Tensor:
        """Logits ``(B, K, S/4, S/4)`` of where each keypoint is."""
        found = merged(maps[1:], list(self.lateral), list(self.refine))
        logits: Tensor = self.heat(found) * SHARPEN
        return logits

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks and blendshapes, see :meth:`read`."""
        return self.read(images)[:2]

    def read(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find the landmarks of aligned or roughly centred faces.

        Args:
            images: ``(B, 3, S, S)`` in [-1, 1].

        Returns:
            Landmarks ``(B, 478, 3)`` in pixels of the input (z in the same scale) and blendshapes
            ``(B, 52)`` in [0, 1]; and the heat maps, for training.
        """
        side = images.shape[-1]
        size = self.config["size"]
        if side != size:
            images = F.interpolate(
                images, size=(size, size), mode="bilinear", antialias=side > size
            )
        maps = self.backbone(images)
        heat = self.heat_maps(maps)
        features = self.neck(self.reduce(maps[-1]))
        dtype = self.complete.weight.dtype
        keys = expected_positions(heat).flatten(1).to(dtype)
        with torch.autocast(images.device.type, enabled=False):
            points = self.complete(keys) + self.correct(features.to(dtype))
        points = points.unflatten(1, (LANDMARK_COUNT, 3))
        # The heads put out coordinates in units of the picture's side, centred at 0.
        offset = torch.tensor([0.5, 0.5, 0.0], device=points.device, dtype=points.dtype)
        return (points + offset) * side, self.blendshapes(points), heat


class MotionExtractor:
    """Provides ``landmarks`` and ``expression``; the mesh fit adds the pose from them.

    Args:
        net: finds all landmarks.
        refiner: looks again at eyes and mouth, if the model has one.
    """

    provides = ("landmarks", "expression")

    def __init__(self, net: MotionNet, refiner: LandmarkRefiner | None = None) -> None:
        self.net, self.refiner = net, refiner

    @torch.no_grad()
    def __call__(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read an aligned crop ``(B, 3, S, S)``; landmarks come in its pixels."""
        landmarks, expression = self.net(crop)
        if self.refiner is not None:
            landmarks = self.refiner(crop, landmarks.float())
            expression = self.net.blendshapes(landmarks.to(expression.dtype))
        return {"landmarks": landmarks.float(), "expression": expression.float()}
