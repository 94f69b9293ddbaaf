# SPDX-License-Identifier: Apache-2.0
"""Training of the second look at eyes and mouth: labels, and landmarks that are a little wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facex.ford.motion import MotionNet
from facex.ford.refine import EYE_POINTS, EYE_SIZE, MOUTH_POINTS, MOUTH_SIZE, LandmarkRefiner
from facex.ford.refine import to_patch as places_in
from facex.geometry.shape_model import bundled
from facex.models.mini_ford import load_network
from facex.train import augment
from facex.train.augment import to_float
from facex.train.distill import Batch
from facex.train.facecache import FaceCache
from facex.train.heat_loss import heat_loss

_PARTS: Final = (EYE_POINTS[0], EYE_POINTS[1], MOUTH_POINTS)
_IRIS: Final = 16
"""Index of the first iris point of an eye."""


class RefineTask:
    """Corrects labels that were moved, turned, scaled, opened and closed at random.

    With the network whose landmarks they stand for (:meth:`follow`) half of them are its own.
    """

    def __init__(self, cache: FaceCache, seed: int) -> None:
        self.cache, self.rng = cache, np.random.default_rng(seed)
        self.first: MotionNet | None = None
        self.train, self.dev = cache.select("train"), cache.select("dev")
        self.mirror = bundled().mirror.numpy()

    def model(self) -> LandmarkRefiner:
        """A new network."""
        return LandmarkRefiner()

    def follow(self, motion: Path) -> None:
        """Correct this network's landmarks, too."""
        self.first = load_network(MotionNet, motion)

    def sample(self, i: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        """Picture, true landmarks and wrong landmarks."""
        rng, image, points = self.rng, np.asarray(self.cache.faces[i]), self.cache.points[i]
        if rng.random() < 0.5:
            image, points = image[:, ::-1], points[self.mirror] * np.array([-1, 1, 1]) + [256, 0, 0]
        matrix = augment.random_similarity(rng, 256, 256, turn=0.3, zoom=0.25, shift=0.06)
        image = augment.warp(np.ascontiguousarray(image), matrix, 256)
        points = augment.transform_points(points, matrix)
        return augment.photometric(image, rng), points, self._wrong(points)

    def _wrong(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        rng, wrong = self.rng, points.copy()
        pupils = float(np.linalg.norm(points[468] - points[473]))
        for part in _PARTS:
            chosen = list(part)
            local = wrong[chosen, :2]
            centre = local.mean(0)
            angle, scale = rng.normal(0, 0.05), np.exp(rng.normal(0, 0.06, 2))
            # Lids and lips are thought more open or closed than they are.
            scale[1] *= np.exp(rng.normal(0, 0.25))
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            local = (local - centre) * scale @ turn.T + centre
            local = local + rng.normal(0, 0.035 * pupils, 2)
            if part is not MOUTH_POINTS:
                local[_IRIS:] += rng.normal(0, 0.04 * pupils, 2)
            wrong[chosen, :2] = local + rng.normal(0, 0.008 * pupils, local.shape)
        return wrong

    def batch(self, size: int) -> Batch:
        """A random training batch."""
        parts = [self.sample(int(i)) for i in self.rng.choice(self.train, size)]
        images = to_float([p[0] for p in parts])
        wrong = torch.from_numpy(np.stack([p[2] for p in parts])).float()
        if self.first is not None:
            with torch.inference_mode():
                wrong[::2] = self.first(images[::2])[0]
        points = torch.from_numpy(np.stack([p[1] for p in parts])).float()
        return {"images": images, "points": points, "wrong": wrong}

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Distance in the patches, and where the heat maps are; irises count three times."""
        total, figures = torch.zeros(()), {}
        found = model.parts(batch["images"], batch["wrong"])  # type: ignore[operator]
        for name, part in zip(("right", "left", "mouth"), found, strict=True):
            height, width = size = MOUTH_SIZE if part.points == MOUTH_POINTS else EYE_SIZE
            points = batch["points"][:, list(part.points), :2]
            truth = places_in(points, part.frame, size)
            gap = (part.places - truth).norm(dim=-1)
            weight = torch.ones(len(part.points))
            if part.points != MOUTH_POINTS:
                weight[_IRIS:] = 3.0
            seen = places_in(points, part.frame, size, flip=part.mirrored)
            where = heat_loss(part.heat, seen / seen.new_tensor([2, 2 * height / width]))
            total = total + ((gap.square() + 1e-5).sqrt() * weight).mean() * 10 + where * 0.3
            figures[name] = round(gap.mean().item(), 4)
        return total, figures

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Error of the parts on dev faces in pupil distances, before and after the second look."""
        rng, self.rng = self.rng, np.random.default_rng(1)
        gaps: dict[str, list[Tensor]] = {"before": [], "after": [], "iris": []}
        chosen = sorted({p for part in _PARTS for p in part})
        for chunk in np.array_split(self.dev, 24):
            images = to_float([np.asarray(self.cache.faces[i]) for i in chunk])
            truth = torch.from_numpy(self.cache.points[chunk]).float()
            if self.first is None:
                wrong = torch.from_numpy(np.stack([self._wrong(p) for p in truth.numpy()])).float()
            else:
                wrong = self.first(images)[0]
            after = model(images, wrong)
            pupils = (truth[:, 468] - truth[:, 473]).norm(dim=1)[:, None]
            for name, guess in (("before", wrong), ("after", after)):
                gap = (guess - truth)[..., :2].norm(dim=-1) / pupils
                gaps[name].append(gap[:, chosen].mean(1))
            gaps["iris"].append(gap[:, [468, 473]].mean(1))
        self.rng = rng
        return {name: round(torch.cat(values).mean().item(), 5) for name, values in gaps.items()}
