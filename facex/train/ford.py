# SPDX-License-Identifier: Apache-2.0
"""Train the mini FORD networks by distillation from cached teacher labels.

``python -m facex.train.ford motion --cache DIR --index index.csv --out DIR --minutes 25``
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facex.ford.motion import MotionNet
from facex.ford.parsing import SIDE
from facex.ford.refine import LandmarkRefiner
from facex.geometry.shape_model import bundled
from facex.models.int8 import load_state
from facex.models.mini_ford import load_network
from facex.train import augment
from facex.train.arguments import faces_parser
from facex.train.augment import to_float
from facex.train.detection import DetectionTask
from facex.train.distill import Batch, LoopConfig, train_loop
from facex.train.facecache import FaceCache
from facex.train.gaze import GazeTask
from facex.train.heat_loss import heat_loss
from facex.train.identity import IdentityTask
from facex.train.parsing import ParsingTask
from facex.train.refine import RefineTask
from facex.types import BLENDSHAPES

AUGMENT: Final = {"turn": 0.7, "zoom": 0.25, "shift": 0.09}
"""How far the landmark network's crops may be from the aligned frame."""


def blendshape_mirror() -> list[int]:
    """Index of each blendshape in a mirrored picture."""
    swap = {"Left": "Right", "Right": "Left"}
    mirrored = []
    for name in BLENDSHAPES:
        for side, other in swap.items():
            if name.endswith(side) and name not in ("jawLeft", "jawRight"):
                name = name.removesuffix(side) + other
                break
        else:
            name = {"jawLeft": "jawRight", "jawRight": "jawLeft"}.get(name, name)
        mirrored.append(BLENDSHAPES.index(name))
    return mirrored


class MotionTask:
    """Landmarks and blendshapes of crops that are turned, shifted and zoomed at random."""

    def __init__(self, cache: FaceCache, seed: int) -> None:
        self.cache, self.rng = cache, np.random.default_rng(seed)
        self.train, self.dev = cache.select("train"), cache.select("dev")
        self.mirror = bundled().mirror.numpy()
        self.swap = blendshape_mirror()

    def model(self) -> MotionNet:
        """A new network whose keypoints complete to all landmarks by ridge regression.

        The keypoints are landmarks spread evenly over the mean face (and all iris points). Shapes
        are turned and shifted as in training, so that the completion holds at every pose.
        """
        mean = self.cache.points[self.train[:2000]].mean(0)
        chosen = list(range(468, 478))
        while len(chosen) < 96:
            gaps = np.linalg.norm(mean[:, None] - mean[None, chosen], axis=-1).min(1)
            chosen.append(int(gaps.argmax()))
        net = MotionNet(keypoints=tuple(chosen))
        shapes = []
        for i in self.rng.choice(self.train, 4000):
            matrix = augment.random_similarity(self.rng, 256, 128, **AUGMENT)
            shapes.append(augment.transform_points(self.cache.points[i], matrix) / 128)
        stacked = np.stack(shapes) - np.array([0.5, 0.5, 0.0])
        keys = stacked[:, chosen, :2].reshape(len(stacked), -1)
        full = stacked.reshape(len(stacked), -1)
        keys_mean, full_mean = keys.mean(0), full.mean(0)
        centred = keys - keys_mean
        gram = centred.T @ centred + len(keys) * 2e-5 * np.eye(keys.shape[1])
        weight = np.linalg.solve(gram, centred.T @ (full - full_mean)).T
        with torch.no_grad():
            net.complete.weight.copy_(torch.from_numpy(weight))
            net.complete.bias.copy_(torch.from_numpy(full_mean - weight @ keys_mean))
        return net

    def sample(self, i: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        """One augmented training face: picture (128 px), landmarks in its pixels, blendshapes."""
        rng, image, points = self.rng, np.asarray(self.cache.faces[i]), self.cache.points[i]
        blend = self.cache.blendshapes[i]
        if rng.random() < 0.5:
            image, points = image[:, ::-1], points[self.mirror] * np.array([-1, 1, 1]) + [256, 0, 0]
            blend = blend[self.swap]
        matrix = augment.random_similarity(rng, 256, 128, **AUGMENT)
        patch = augment.warp(np.ascontiguousarray(image), matrix, 128)
        if rng.random() < 0.2:
            donor = np.asarray(self.cache.faces[rng.choice(self.train)])[:128, :128]
            patch, _ = augment.random_occluder(patch, rng, donor)
        return augment.photometric(patch, rng), augment.transform_points(points, matrix), blend

    def batch(self, size: int) -> Batch:
        """A random training batch."""
        parts = [self.sample(int(i)) for i in self.rng.choice(self.train, size)]
        return {
            "images": to_float([p[0] for p in parts]),
            "points": torch.from_numpy(np.stack([p[1] for p in parts])),
            "blend": torch.from_numpy(np.stack([p[2] for p in parts])),
        }

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Robust point distance over the inter-ocular distance, plus the blendshapes."""
        points, blend, heat = model.read(batch["images"])  # type: ignore[operator]
        eyes = (batch["points"][:, 468, :2] - batch["points"][:, 473, :2]).norm(dim=1)
        gap = (points - batch["points"]) / eyes[:, None, None].clamp_min(8)
        weight = torch.ones(478, 1)
        weight[468:] = 3.0
        distance = (gap * torch.tensor([1.0, 1.0, 0.5])).square().sum(-1, keepdim=True)
        point_loss = ((distance + 1e-5).sqrt() * weight).mean()
        blend_loss = (blend - batch["blend"]).abs().mean()
        nme = gap[..., :2].norm(dim=-1).mean()
        figures = {"nme": round(nme.item(), 4), "blend": round(blend_loss.item(), 4)}
        chosen = list(model.config["keypoints"])  # type: ignore[index]
        places = heat_loss(heat, batch["points"][:, chosen, :2] / 128 - 0.5)
        figures["heat"] = round(places.item(), 3)
        return point_loss * 10 + blend_loss + places, figures

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Error on the aligned dev faces."""
        errors, blends = [], []
        for chunk in np.array_split(self.dev, 24):
            points, blend = model(to_float([np.asarray(self.cache.faces[i]) for i in chunk]))
            truth = torch.from_numpy(self.cache.points[chunk])
            eyes = (truth[:, 468, :2] - truth[:, 473, :2]).norm(dim=1)
            errors.append((points - truth)[..., :2].norm(dim=-1).mean(1) / eyes)
            blends.append((blend - torch.from_numpy(self.cache.blendshapes[chunk])).abs().mean(1))
        error = torch.cat(errors)
        return {
            "nme": round(error.mean().item(), 4),
            "nme_median": round(error.median().item(), 4),
            "blend": round(torch.cat(blends).mean().item(), 4),
        }


class ExpressionTask(MotionTask):
    """Only the blendshape head of a trained landmark network, on its own and the labels' points."""

    def prepare(self, net: MotionNet, refiner: LandmarkRefiner | None = None) -> None:
        """Read all faces once, as the product does; everything but the head is frozen."""
        net.requires_grad_(False)
        net.blendshapes.requires_grad_(True)
        chosen, found = np.concatenate([self.train, self.dev]), []
        with torch.inference_mode():
            for chunk in np.array_split(chosen, len(chosen) // 16):
                faces = to_float([np.asarray(self.cache.faces[i]) for i in chunk])
                points = net.eval()(faces)[0]
                found.append(points if refiner is None else refiner(faces, points))
        self.read = torch.empty(len(self.cache.names), 478, 3)
        self.read[torch.from_numpy(chosen)] = torch.cat(found)
        shapes = net.blendshapes.normalise(torch.from_numpy(self.cache.points[self.train]))
        net.blendshapes.mean.copy_(shapes.mean(0))
        net.blendshapes.std.copy_(shapes.std(0).clamp_min(1e-4))

    def batch(self, size: int) -> Batch:
        """Landmarks as labelled or as read, with a little noise; half of them mirrored."""
        chosen = self.rng.choice(self.train, size)
        own = torch.from_numpy(self.rng.random(size) < 0.5)[:, None, None]
        points = torch.where(own, self.read[chosen], torch.from_numpy(self.cache.points[chosen]))
        points = points + torch.from_numpy(self.rng.normal(0, 0.25, points.shape)).float()
        blend = torch.from_numpy(self.cache.blendshapes[chosen])
        flip = torch.from_numpy(self.rng.random(size) < 0.5)
        mirrored = points[:, self.mirror] * torch.tensor([-1.0, 1.0, 1.0])
        points = torch.where(flip[:, None, None], mirrored, points)
        blend = torch.where(flip[:, None], blend[:, self.swap], blend)
        return {"points": points, "blend": blend}

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Absolute error of the blendshapes."""
        error = (model.blendshapes(batch["points"]) - batch["blend"]).abs().mean()  # type: ignore[operator]
        return error * 10, {"blend": round(error.item(), 4)}


TASKS: dict[str, Callable[[FaceCache, int], Any]] = {
    "detector": DetectionTask,
    "motion": MotionTask,
    "expression": ExpressionTask,
    "parsing": ParsingTask,
    "identity": IdentityTask,
    "gaze": GazeTask,
    "refine": RefineTask,
}


def main() -> None:
    """Command line of the trainer."""
    parser = faces_parser(__doc__)
    parser.add_argument("network", choices=sorted(TASKS))
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--start", type=Path, help="continue from this folder's weights")
    parser.add_argument(
        "--teachers", type=Path, help="networks that label pictures made on the fly"
    )
    parser.add_argument("--motion", type=Path, help="landmarks that the second look corrects")
    parser.add_argument("--refine", type=Path, help="second look before the expression is read")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    task = TASKS[args.network](FaceCache.open(args.cache, args.index), args.seed)
    if isinstance(task, IdentityTask) and args.teachers:
        task.judge_composites(args.teachers)
    if isinstance(task, GazeTask) and args.teachers:
        task.paint(args.teachers)
    if isinstance(task, RefineTask) and args.motion:
        task.follow(args.motion)
    model = task.model()
    if args.start:
        weights = load_state(args.start)
        model = type(model).from_config(type(model).load_config(args.start))
        # New parts of a network may be missing in old weights; they keep their initialisation.
        unknown = model.load_state_dict(weights, strict=False).unexpected_keys
        if unknown:
            raise SystemExit(f"{args.start} is of another layout: {unknown[0]} is unknown")
    if isinstance(task, ParsingTask):
        # What was trained at another side goes on at this one.
        model.register_to_config(size=SIDE)
    if isinstance(task, ExpressionTask):
        task.prepare(model, args.refine and load_network(LandmarkRefiner, args.refine))
    config = LoopConfig(
        minutes=args.minutes,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        bf16=args.bf16,
    )
    print(f"{args.network}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")
    train_loop(model, task.batch, task.loss, args.out, config, task.evaluate)


if __name__ == "__main__":
    main()
