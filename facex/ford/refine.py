# SPDX-License-Identifier: Apache-2.0
"""A second, closer look at eyes and mouth (DESIGN 3).

At the motion network's 128 px an iris is three pixels wide, and where it points decides whether a
swap keeps the target's gaze. Two small networks look at the eyes and the mouth at the crop's own
resolution and correct their landmarks; the skin around follows smoothly.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from facex.ford.layers import conv_bn, sample_affine, stage
from facex.geometry.topology import (
    EYE_CORNERS,
    LEFT_EYE,
    LIPS_INNER,
    LIPS_OUTER,
    RIGHT_EYE,
    RIGHT_IRIS,
    SURFACE_COUNT,
)

EYE_SIZE: Final = (40, 56)
MOUTH_SIZE: Final = (64, 88)
"""Height and width of the patches in pixels."""
_EYE_SPAN: Final = 0.85
_MOUTH_SPAN: Final = 1.5
"""Width of the patches in distances of the pupils."""
_SQUEEZED: Final = 10
"""Channels of the maps from which the places are read."""
_REACH: Final = 0.12
"""How far a correction spreads over the mesh, in distances of the pupils."""

EYE_POINTS: Final = ((*RIGHT_EYE, *RIGHT_IRIS), (*LEFT_EYE, 473, 476, 475, 474, 477))
"""Points of the right eye, and of the left in the order of its mirror image."""
MOUTH_POINTS: Final = (*LIPS_OUTER, *LIPS_INNER)


class PartNet(nn.Module):
    """Where the points of a part are in its patch, as a correction of where they are thought to be.

    Args:
        size: height and width of the patch.
        points: number of points.
        channels: widths at full, 1/2, 1/4 and 1/8 resolution.
        hidden: width of the hidden layer.
    """

    def __init__(
        self, size: tuple[int, int], points: int, channels: tuple[int, ...], hidden: int
    ) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            conv_bn(3, channels[0]), *(stage(a, b, 1) for a, b in pairwise(channels))
        )
        cells = (size[0] // 8) * (size[1] // 8)
        self.squeeze = conv_bn(channels[-1], _SQUEEZED, kernel=1)
        self.head = nn.Sequential(
            nn.Linear(_SQUEEZED * cells + 2 * points, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 2 * points),
        )

    def forward(self, patches: Tensor, places: Tensor) -> Tensor:
        """Corrected places ``(B, n, 2)`` of rough places, both in [-1, 1] of the patch's width."""
        maps = self.squeeze(self.trunk(patches)).flatten(1)
        change = self.head(torch.cat([maps, places.flatten(1)], 1))
        return places + change.unflatten(1, places.shape[1:]) * 0.1


class LandmarkRefiner(ModelMixin, ConfigMixin):
    """Corrects the landmarks of eyes, irises and lips.

    The left eye is mirrored, so one set of weights sees right eyes only.

    Args:
        eye_channels: widths of the eye network.
        mouth_channels: widths of the mouth network.
        hidden: width of the hidden layers.
    """

    @register_to_config
    def __init__(
        self,
        eye_channels: tuple[int, ...] = (12, 20, 32, 48),
        mouth_channels: tuple[int, ...] = (8, 16, 28, 44),
        hidden: int = 64,
    ) -> None:
        super().__init__()
        self.eye = PartNet(EYE_SIZE, len(EYE_POINTS[0]), tuple(eye_channels), hidden)
        self.mouth = PartNet(MOUTH_SIZE, len(MOUTH_POINTS), tuple(mouth_channels), hidden)

    def forward(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Correct landmarks.

        Args:
            images: ``(B, 3, S, S)`` in [-1, 1].
            landmarks: ``(B, 478, 3)`` in pixels of the images.

        Returns:
            ``(B, 478, 3)``; the depth is left as it was.
        """
        moved = torch.zeros_like(landmarks[..., :2])
        for points, (found, matrix) in self.parts(images, landmarks):
            back = to_image(found, matrix)
            moved[:, list(points)] = back - landmarks[:, list(points), :2]
        change = spread(moved, landmarks)
        return torch.cat([landmarks[..., :2] + change, landmarks[..., 2:]], -1)

    def parts(
        self, images: Tensor, landmarks: Tensor
    ) -> list[tuple[tuple[int, ...], tuple[Tensor, Tensor]]]:
        """Points of each part, their corrected places in its patch, and the patch's matrix."""
        frames = part_frames(landmarks)
        eyes = []
        for side, (points, frame) in enumerate(zip(EYE_POINTS, frames[:2], strict=True)):
            patches = sample_affine(images, frame.to(images.dtype), EYE_SIZE)
            eyes.append((points, frame, patches.flip(-1) if side else patches))
        rough = [to_patch(landmarks[:, list(p), :2], f, EYE_SIZE, flip=bool(i))
                 for i, (p, f, _) in enumerate(eyes)]  # fmt: skip
        both = self.eye(torch.cat([e[2] for e in eyes]), torch.cat(rough)).chunk(2)
        found: list[tuple[tuple[int, ...], tuple[Tensor, Tensor]]] = []
        for side, (points, frame, _) in enumerate(eyes):
            found.append((points, (_unflip(both[side], flip=bool(side)), frame)))
        patches = sample_affine(images, frames[2].to(images.dtype), MOUTH_SIZE)
        places = to_patch(landmarks[:, list(MOUTH_POINTS), :2], frames[2], MOUTH_SIZE)
        found.append((MOUTH_POINTS, (self.mouth(patches, places), frames[2])))
        return found


def part_frames(landmarks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Patch pixels to picture pixels ``(B, 2, 3)`` of the right eye, the left eye and the mouth."""
    corners = [landmarks[:, list(pair)].mean(1) for pair in EYE_CORNERS]
    across = corners[1] - corners[0]
    # The distance in space: a turned head's eyes come closer in the picture, its mouth does not.
    pupils = across.norm(dim=1, keepdim=True).clamp_min(1e-3)
    along = across[:, :2] / across[:, :2].norm(dim=1, keepdim=True).clamp_min(1e-6) * pupils
    frames = []
    for points, size, span in (
        (EYE_POINTS[0][:16], EYE_SIZE, _EYE_SPAN),
        (EYE_POINTS[1][:16], EYE_SIZE, _EYE_SPAN),
        (MOUTH_POINTS, MOUTH_SIZE, _MOUTH_SPAN),
    ):
        right = along * (span / size[1])
        down = torch.stack([-right[:, 1], right[:, 0]], -1)
        centre = landmarks[:, list(points), :2].mean(1)
        shift = centre - right * (size[1] / 2) - down * (size[0] / 2)
        frames.append(torch.stack([right, down, shift], -1))
    return frames[0], frames[1], frames[2]


def to_patch(places: Tensor, frame: Tensor, size: tuple[int, int], *, flip: bool = False) -> Tensor:
    """Picture places ``(B, n, 2)`` as multiples of half the patch's width from its centre."""
    local = torch.linalg.solve(frame[..., :2], (places - frame[:, None, :, 2]).mT).mT
    half = torch.tensor([size[1] / 2, size[0] / 2], device=places.device, dtype=places.dtype)
    return _unflip((local - half) / (size[1] / 2), flip=flip)


def to_image(places: Tensor, frame: Tensor) -> Tensor:
    """The inverse of :func:`to_patch`, for eyes and mouth alike."""
    size = EYE_SIZE if places.shape[1] == len(EYE_POINTS[0]) else MOUTH_SIZE
    half = torch.tensor([size[1] / 2, size[0] / 2], device=places.device, dtype=places.dtype)
    local = places * (size[1] / 2) + half
    return local @ frame[..., :2].mT + frame[:, None, :, 2]


def spread(moved: Tensor, landmarks: Tensor) -> Tensor:
    """Corrections ``(B, 478, 2)`` of the parts' points, carried on to the mesh around them."""
    chosen = sorted({*EYE_POINTS[0], *EYE_POINTS[1], *MOUTH_POINTS})
    surface = [p for p in chosen if p < SURFACE_COUNT]
    pair = [landmarks[:, list(corners)].mean(1) for corners in EYE_CORNERS]
    unit = (pair[1] - pair[0]).norm(dim=1)[:, None, None].clamp_min(1e-3)
    distance = torch.cdist(landmarks, landmarks[:, surface]) / unit
    weight = torch.exp(-0.5 * (distance / (_REACH / 2)).square())
    near = weight.amax(-1, keepdim=True)
    mean = weight @ moved[:, surface] / weight.sum(-1, keepdim=True).clamp_min(1e-9)
    change = mean * near
    change[:, chosen] = moved[:, chosen]
    return change


def _unflip(places: Tensor, *, flip: bool) -> Tensor:
    return places * places.new_tensor([-1.0, 1.0]) if flip else places
