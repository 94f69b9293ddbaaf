# SPDX-License-Identifier: Apache-2.0
"""The gaze network's task: eyes of photos, and eyes that an edit has painted.

Placed eyes are aimed by this network (``facex.fors.eyes``), so it must read those as its teacher
does: half of the faces get their eyes turned at random, and the teacher labels what is seen then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from facex.ford.gaze import GazeNet, eye_patches, head_angles
from facex.fors.eyes import paint_turned_eyes, turned_irises
from facex.train import augment
from facex.train.augment import to_float
from facex.train.distill import Batch
from facex.train.facecache import FaceCache
from facex.train.make_cache import Teachers, gaze

_PAINTED: Final = 0.5
"""Share of faces with painted eyes."""
_TURN: Final = 0.25
"""Deviation of their turn, radians."""
_FURTHEST: Final = 0.5
_JITTER: Final = 0.8
"""Deviation of the landmarks by which eyes are cut out, pixels of the crop."""


class GazeTask:
    """Gaze from eye patches; labels are averaged over the photo and its mirror image.

    Args:
        cache: the faces; with ``gaze.npz`` unless :meth:`paint` is called.
        seed: of all randomness.
    """

    def __init__(self, cache: FaceCache, seed: int) -> None:
        self.cache, self.rng = cache, np.random.default_rng(seed)
        self.train, self.dev = cache.select("train"), cache.select("dev")
        self.teachers: Teachers | None = None
        labels = cache.folder / "gaze.npz"
        if labels.is_file():
            with np.load(labels) as file:
                self.gaze = file["gaze"].astype(np.float32)

    def paint(self, teachers: Path) -> None:
        """Paint eyes, and let the networks in this folder label every picture anew."""
        self.teachers = Teachers(teachers)
        self.gaze = np.zeros((len(self.cache.faces), 2), np.float32)
        for chunk in np.array_split(self.dev, 24):
            images, points = self._faces(chunk)
            self.gaze[chunk] = self._read(images, points)

    def model(self) -> GazeNet:
        """A new network."""
        return GazeNet()

    def _faces(self, chosen: NDArray[np.int64]) -> tuple[list[NDArray[np.uint8]], Tensor]:
        faces = [np.asarray(self.cache.faces[i]) for i in chosen]
        return faces, torch.from_numpy(self.cache.points[chosen]).float()

    @torch.inference_mode()
    def _read(self, images: list[NDArray[np.uint8]], points: Tensor) -> NDArray[np.float32]:
        assert self.teachers is not None
        found, _ = gaze((to_float(images) + 1) / 2, points, self.teachers)
        return np.asarray(found.numpy(), np.float32)

    def _turned(self, image: NDArray[np.uint8], points: NDArray[np.float64]) -> NDArray[np.uint8]:
        turn = np.clip(self.rng.normal(0, _TURN, 2), -_FURTHEST, _FURTHEST).astype(np.float32)
        own = np.asarray(image, np.float32) / np.float32(255)
        there = turned_irises(points, np.zeros((2, 2), np.float32), turn)
        painted, _ = paint_turned_eyes(own, own, points, there, turn)
        return np.asarray(np.clip(painted * 255 + 0.5, 0, 255), np.uint8)

    def batch(self, size: int) -> Batch:
        """A random training batch with jittered landmarks."""
        chosen = self.rng.choice(self.train, size)
        images, points = self._faces(chosen)
        labels = self.gaze[chosen]
        if self.teachers is not None:
            for i in np.flatnonzero(self.rng.random(size) < _PAINTED):
                images[i] = self._turned(images[i], points[i].double().numpy())
            labels = self._read(images, points)
        points = points + torch.from_numpy(self.rng.normal(0, _JITTER, points.shape)).float()
        views = [augment.photometric(image, self.rng) for image in images]
        patches, _ = eye_patches(to_float(views), points)
        angles, wanted = head_angles(points), torch.from_numpy(labels)
        flip = torch.from_numpy(self.rng.random(size) < 0.5)
        mirrored = patches.flip(1).flip(-1)
        patches = torch.where(flip[:, None, None, None, None], mirrored, patches)
        sign = torch.where(flip, -1.0, 1.0)
        angles = angles * torch.stack([sign, torch.ones(size), sign], 1)
        wanted = torch.stack([wanted[:, 0], wanted[:, 1] * sign], 1)
        return {"patches": patches, "angles": angles, "gaze": wanted}

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Robust distance of both eyes' angles."""
        out = model(batch["patches"], batch["angles"])
        gap = out - batch["gaze"][:, None]
        degrees = gap.detach().norm(dim=-1).mean().rad2deg()
        return F.smooth_l1_loss(gap, torch.zeros_like(gap), beta=0.05), {
            "deg": round(degrees.item(), 2)
        }

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Mean angle between the mean of both eyes and the teacher."""
        found = []
        for chunk in np.array_split(self.dev, 24):
            faces, points = self._faces(chunk)
            patches, _ = eye_patches(to_float(faces), points)
            found.append(model(patches, head_angles(points)).mean(1))
        gap = torch.cat(found) - torch.from_numpy(self.gaze[self.dev])
        return {"deg": round(gap.norm(dim=1).mean().rad2deg().item(), 3)}
