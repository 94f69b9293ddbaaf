# SPDX-License-Identifier: Apache-2.0
"""A second, closer look at eyes and mouth (DESIGN 3).

At the motion network's 128 px an iris is three pixels wide, and where it points decides whether a
swap keeps the target's gaze. Two small networks look at the eyes and the mouth at the crop's own
resolution and correct their landmarks; the skin around follows smoothly.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from facex.ford.heat_maps import SHARPEN, expected_positions, merged
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


class Part(NamedTuple):
    """A part of a face as it was found.

    Attributes:
        points: which landmarks.
        places: ``(B, n, 2)``, in halves of the patch's width from its centre.
        frame: ``(B, 2, 3)``, patch pixels to picture pixels.
        heat: ``(B, n, h, w)`` logits of where each point is in the patch that the network saw.
        mirrored: whether that was the mirror image.
    """

    points: tuple[int, ...]
    places: Tensor
    frame: Tensor
    heat: Tensor
    mirrored: bool


class PartNet(nn.Module):
    """Where the points of a part are in its patch.

    Heat maps at half of the patch's resolution say where each point is; what they cannot see, as a
    lid below dark glasses, the others and the places where they were thought to be tell.

    Args:
        size: height and width of the patch.
        points: number of points.
        channels: widths at full, 1/2, 1/4 and 1/8 resolution.
        width: channels of the merged maps.
        hidden: width of the hidden layers.
    """

    def __init__(
        self,
        size: tuple[int, int],
        points: int,
        channels: tuple[int, ...],
        width: int,
        hidden: int,
    ) -> None:
        super().__init__()
        self.stem = conv_bn(3, channels[0])
        self.stages = nn.ModuleList(stage(a, b, 1) for a, b in pairwise(channels))
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels[1:])
        self.refine = nn.ModuleList(conv_bn(width, width) for _ in channels[2:])
        self.heat = nn.Conv2d(width, points, 1)
        cells = (size[0] // 8) * (size[1] // 8)
        self.squeeze = conv_bn(channels[-1], _SQUEEZED, kernel=1)
        last = nn.Linear(hidden, 2 * points)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(
            nn.Linear(_SQUEEZED * cells + 4 * points, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            last,
        )

    def forward(self, patches: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Find the points.

        Args:
            patches: ``(B, 3, *size)`` in [-1, 1].
            places: ``(B, n, 2)`` where they are thought to be, in halves of the patch's width from
                its centre.

        Returns:
            Where they are, likewise; and the heat maps, for training.
        """
        maps = [self.stem(patches)]
        for module in self.stages:
            maps.append(module(maps[-1]))
        heat = self.heat(merged(maps[1:], list(self.lateral), list(self.refine))) * SHARPEN
        height, width = patches.shape[-2:]
        seen = expected_positions(heat) * places.new_tensor([2.0, 2.0 * height / width])
        known = [self.squeeze(maps[-1]), seen, places]
        change = self.head(torch.cat([x.flatten(1).to(places.dtype) for x in known], 1))
        return seen + change.unflatten(1, places.shape[1:]) * 0.1, heat


class LandmarkRefiner(ModelMixin, ConfigMixin):
    """Corrects the landmarks of eyes, irises and lips.

    The left eye is mirrored, so one set of weights sees right eyes only.

    Args:
        eye_channels: widths of the eye network.
        mouth_channels: widths of the mouth network.
        width: channels of the merged maps.
        hidden: width of the hidden layers.
    """

    @register_to_config
    def __init__(
        self,
        eye_channels: tuple[int, ...] = (12, 24, 40, 64),
        mouth_channels: tuple[int, ...] = (10, 20, 36, 56),
        width: int = 32,
        hidden: int = 96,
    ) -> None:
        super().__init__()
        eye, mouth = tuple(eye_channels), tuple(mouth_channels)
        self.eye = PartNet(EYE_SIZE, len(EYE_POINTS[0]), eye, width, hidden)
        self.mouth = PartNet(MOUTH_SIZE, len(MOUTH_POINTS), mouth, width, hidden)

    def forward(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Correct landmarks.

        Args:
            images: ``(B, 3, S, S)`` in [-1, 1].
            landmarks: ``(B, 478, 3)`` in pixels of the images.

        Returns:
            ``(B, 478, 3)``; the depth is left as it was.
        """
        moved = torch.zeros_like(landmarks[..., :2])
        for part in self.parts(images, landmarks):
            back = to_image(part.places, part.frame)
            moved[:, list(part.points)] = back - landmarks[:, list(part.points), :2]
        change = spread(moved, landmarks)
        return torch.cat([landmarks[..., :2] + change, landmarks[..., 2:]], -1)

    def parts(self, images: Tensor, landmarks: Tensor) -> list[Part]:
        """What is found of the right eye, the left eye and the mouth."""
        frames = part_frames(landmarks)
        eyes = []
        for side, (points, frame) in enumerate(zip(EYE_POINTS, frames[:2], strict=True)):
            patches = sample_affine(images, frame.to(images.dtype), EYE_SIZE)
            eyes.append((points, frame, patches.flip(-1) if side else patches))
        rough = [to_patch(landmarks[:, list(p), :2], f, EYE_SIZE, flip=bool(i))
                 for i, (p, f, _) in enumerate(eyes)]  # fmt: skip
        both, heat = self.eye(torch.cat([e[2] for e in eyes]), torch.cat(rough))
        found = [
            Part(points, _unflip(places, flip=bool(side)), frame, maps, bool(side))
            for side, ((points, frame, _), places, maps) in enumerate(
                zip(eyes, both.chunk(2), heat.chunk(2), strict=True)
            )
        ]
        patches = sample_affine(images, frames[2].to(images.dtype), MOUTH_SIZE)
        places = to_patch(landmarks[:, list(MOUTH_POINTS), :2], frames[2], MOUTH_SIZE)
        mouth, heat = self.mouth(patches, places)
        return [*found, Part(MOUTH_POINTS, mouth, frames[2], heat, False)]


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
