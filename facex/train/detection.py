# SPDX-License-Identifier: Apache-2.0
"""Training of the detector on pictures pasted together from aligned faces.

Every aligned face has a known frame, so the label of a pasted one is exact: the square that
`facex.locate.rough_frame` turns back into the aligned crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from facex.detect.net import STRIDES, DetectorNet, decode
from facex.geometry.shape_model import bundled
from facex.train import augment
from facex.train.augment import to_float
from facex.train.distill import Batch
from facex.train.facecache import FaceCache

SIDE: Final = 320
"""Pixels of a training picture."""
FACE: Final = 256 / 1.85
"""Side of the face's square in an aligned 256 px crop; see `facex.locate.rough_frame`."""
_DOWN: Final = 0.06
"""How far below the middle of the crop the square sits, in its sides."""
LEVELS: Final = ((0.0, 56.0), (56.0, 128.0), (128.0, 1e9))
"""Sides of the faces that each level learns."""
_SMALLEST: Final = 14.0
_ANYHOW: Final = 0.85
"""Above this draw a head is turned by any angle."""
_HIDDEN: Final = 0.55
"""Share of a face covered by others above which it neither counts as one nor as none."""
_KEYS: Final = ((33, 133), (263, 362), (1, 1), (61, 61), (291, 291))
"""Landmarks whose mean is each keypoint: right eye, left eye, nose, right and left corner."""

Picture = NDArray[np.uint8]


@dataclass
class Pasted:
    """A face of a training picture: centre, side, roll in pixels and radians; five points."""

    centre: NDArray[np.float64]
    side: float
    roll: float
    points: NDArray[np.float64]
    shown: bool = True


class DetectionTask:
    """Faces of every size, turned and covering each other, on grounds without any."""

    def __init__(self, cache: FaceCache, seed: int) -> None:
        self.cache, self.rng = cache, np.random.default_rng(seed)
        self.train, dev = cache.select("train"), cache.select("dev")
        self.dev = dev[:: max(1, len(dev) // 240)]
        self.pool = self.train
        self.mirror = bundled().mirror.numpy()
        self.masks = self._masks()
        self.grounds = _photos_without_faces()

    def model(self) -> DetectorNet:
        """A new network."""
        return DetectorNet()

    def _masks(self) -> dict[int, Picture]:
        """Heads of the faces whose label map is known."""
        folder, found = self.cache.folder / "parsing", {}
        for i in [*self.train, *self.dev]:
            path = folder / f"{self.cache.names[i]}.png"
            if path.exists():
                label = np.asarray(cv2.imread(str(path), -1))
                found[int(i)] = (((label > 0) & (label < 255)) * 255).astype(np.uint8)
        return found

    # Grounds

    def ground(self) -> Picture:
        """A picture without a face: plain, textures, torn-up faces, photos of other things."""
        rng, kind = self.rng, self.rng.random()
        if kind < 0.15:
            colours = rng.integers(0, 256, (2, 2, 3)).astype(np.uint8)
            return np.asarray(cv2.resize(colours, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))
        if kind < 0.45 and self.grounds:
            photo = self.grounds[int(rng.integers(len(self.grounds)))]
            return self._piece(photo, float(rng.uniform(0.4, 2.5)))
        if kind < 0.75:
            # Corners of portraits: rooms, streets, clothes, hair.
            face = np.asarray(self.cache.faces[self._any()])
            y, x = (0 if rng.random() < 0.5 else 186), (0 if rng.random() < 0.5 else 186)
            corner = np.ascontiguousarray(face[y : y + 70, x : x + 70])
            tile = np.concatenate([corner, corner[:, ::-1]], 1)
            return self._piece(np.concatenate([tile, tile[::-1]], 0), float(rng.uniform(0.8, 3)))
        return self._torn(np.asarray(self.cache.faces[self._any()]))

    def _torn(self, face: Picture) -> Picture:
        """A portrait cut into squares that are shuffled and turned: skin and hair, no face."""
        cells = int(self.rng.choice([8, 10]))
        size = 256 // cells
        tiles = [
            np.rot90(face[y : y + size, x : x + size], int(self.rng.integers(4)))
            for y in range(0, size * cells, size)
            for x in range(0, size * cells, size)
        ]
        self.rng.shuffle(tiles)
        rows = [np.concatenate(tiles[r * cells : (r + 1) * cells], 1) for r in range(cells)]
        return self._piece(np.concatenate(rows, 0), float(self.rng.uniform(0.6, 2.5)))

    def _piece(self, photo: Picture, scale: float) -> Picture:
        """A random window of a picture, repeated mirrored where it ends."""
        matrix = np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]])
        spare = np.array([photo.shape[1], photo.shape[0]]) * scale - SIDE
        matrix[:, 2] = -self.rng.uniform(0, 1, 2) * spare
        if self.rng.random() < 0.5:
            photo = np.ascontiguousarray(photo[:, ::-1])
        blurred = cv2.GaussianBlur(photo, (0, 0), 0.4 / scale) if scale < 0.8 else photo
        mode = cv2.BORDER_REFLECT_101
        return np.asarray(cv2.warpAffine(blurred, matrix, (SIDE, SIDE), borderMode=mode))

    # Faces

    def _any(self) -> int:
        return int(self.rng.choice(self.pool))

    def _place(self, side: float, roll: float, centre: NDArray[np.float64]) -> NDArray[np.float64]:
        """Matrix from the aligned crop to the picture, for a face's square there."""
        scale = side / FACE
        cos, sin = np.cos(roll) * scale, np.sin(roll) * scale
        rotation = np.array([[cos, -sin], [sin, cos]])
        own = np.array([128.0, 128.0 + _DOWN * FACE])
        return np.concatenate([rotation, (centre - rotation @ own)[:, None]], 1)

    def paste(
        self, picture: Picture, matrix: NDArray[np.float64], i: int, *, whole: bool = False
    ) -> tuple[Picture, Pasted]:
        """Paste an aligned face with its hair or with its surroundings, soft at the border."""
        rng = self.rng
        face, points = np.asarray(self.cache.faces[i]), self.cache.points[i].astype(np.float64)
        mask, kind = self.masks.get(i), rng.random()
        if whole:
            mask = np.full((256, 256), 255, np.uint8)
        elif mask is None or kind < 0.4:
            mask = np.zeros((256, 256), np.uint8)
            if kind < 0.2:
                margin = int(rng.integers(0, 30))
                mask[margin : 256 - margin, margin : 256 - margin] = 255
            else:
                axes = (int(rng.integers(70, 118)), int(rng.integers(88, 124)))
                cv2.ellipse(mask, (128, 128), axes, 0, 0, 360, 255, -1)
        if rng.random() < 0.5:
            face, mask = face[:, ::-1], mask[:, ::-1]
            points = points[self.mirror] * [-1, 1, 1] + [256, 0, 0]
        scale = float(np.hypot(*matrix[:, 0]))
        face, mask = np.ascontiguousarray(face), np.ascontiguousarray(mask)
        if rng.random() < 0.4:
            face = augment.photometric(face, rng, 0.6)
        if scale < 0.8:
            face = cv2.GaussianBlur(face, (0, 0), 0.4 / scale)
        mask = cv2.GaussianBlur(mask, (0, 0), max(float(rng.uniform(0.5, 2)), 0.4 / scale))
        shift = matrix[:, 2] + matrix[:, :2] @ [0.5, 0.5] - 0.5
        moved = np.concatenate([matrix[:, :2], shift[:, None]], 1)
        there = cv2.warpAffine(face, moved, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        alpha = cv2.warpAffine(mask, moved, (SIDE, SIDE))[..., None].astype(np.float32) / 255
        result = (picture * (1 - alpha) + there * alpha).astype(np.uint8)
        five = np.stack([points[list(pair), :2].mean(0) for pair in _KEYS])
        own = np.array([128.0, 128.0 + _DOWN * FACE])
        roll = float(np.arctan2(matrix[1, 0], matrix[0, 0]))
        centre = matrix[:, :2] @ own + matrix[:, 2]
        return result, Pasted(centre, FACE * scale, roll, five @ matrix[:, :2].T + matrix[:, 2])

    def _roll(self) -> float:
        kind = self.rng.random()
        if kind > _ANYHOW:
            return float(self.rng.uniform(-np.pi, np.pi))
        spread = 0.15 if kind < 0.45 else 0.5
        return float(np.clip(self.rng.normal(0, spread), -1.2, 1.2))

    def sample(self) -> tuple[Picture, list[Pasted]]:
        """One picture and its faces."""
        rng, found = self.rng, list[Pasted]()
        picture = self.ground()
        kind = rng.random()
        if kind < 0.3:
            # A close portrait: the aligned crop covers all of the picture.
            side = float(rng.uniform(SIDE * 0.58, SIDE * 1.0))
            centre = np.full(2, SIDE / 2) + rng.uniform(-0.16, 0.16, 2) * SIDE
            matrix = self._place(side, self._roll(), centre)
            picture, face = self.paste(picture, matrix, self._any(), whole=rng.random() < 0.6)
            found.append(face)
        elif kind < 0.88:
            for _ in range(int(rng.choice([1, 2, 3, 5, 8], p=[0.35, 0.25, 0.2, 0.12, 0.08]))):
                side = float(np.exp(rng.uniform(np.log(_SMALLEST), np.log(200))))
                centre = rng.uniform(-0.02, 1.02, 2) * SIDE
                matrix = self._place(side, self._roll(), centre)
                picture, face = self.paste(picture, matrix, self._any())
                for other in found:
                    if _covered(other, face) > _HIDDEN:
                        other.shown = False
                found.append(face)
        for face in found:
            inside = np.clip(face.points, 0, SIDE) == face.points
            face.shown &= bool(inside.all(1).sum() >= 4)
        if rng.random() < 0.25:
            donor = np.asarray(self.cache.faces[self._any()])
            donor = np.ascontiguousarray(np.tile(donor[186:, :70], (5, 5, 1))[:SIDE, :SIDE])
            picture, _ = augment.random_occluder(picture, rng, donor)
        return augment.photometric(picture, rng, 0.8), found

    def batch(self, size: int) -> Batch:
        """Pictures ``(B, 3, 320, 320)`` and padded faces ``(B, 8, 15)`` (shown first, then -1)."""
        pictures, faces = [], torch.full((size, 8, 15), -1.0)
        for b in range(size):
            picture, found = self.sample()
            pictures.append(picture)
            for k, face in enumerate(found[:8]):
                row = [1.0 if face.shown else 0.0, *face.centre, face.side, face.roll]
                faces[b, k] = torch.tensor([*row, *face.points.ravel()])
        return {"images": to_float(pictures), "faces": faces}

    # Loss

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Focal loss of the scores and robust distances of the measures at each face's cells."""
        score, place, keys, count = 0.0, 0.0, 0.0, 0.0
        total: Tensor = torch.zeros(())
        for level, stride, (low, high) in zip(model(batch["images"]), STRIDES, LEVELS, strict=True):
            wanted, ignored, target = assign(batch["faces"], level.shape[-2:], stride, low, high)
            logit = level[:, 0]
            chance = logit.sigmoid()
            miss = torch.where(wanted, 1 - chance, chance).square()
            weight = torch.where(wanted, 0.5, 0.6) * (~ignored)
            entropy = F.binary_cross_entropy_with_logits(logit, wanted.float(), reduction="none")
            hits = wanted.sum().clamp_min(1)
            focal = (entropy * miss * weight).sum()
            found = level.permute(0, 2, 3, 1)[wanted][:, 1:]
            gap = F.smooth_l1_loss(found, target[wanted], beta=0.1, reduction="none")
            # Centres are learnt in sides of the face, whatever the stride.
            side = target[wanted][:, 2:3].exp()
            box = (gap[:, :2] / side.clamp_min(1)).sum() * 2 + gap[:, 2:5].sum() * 2
            points = gap[:, 5:].sum()
            total = total + focal + box + points
            score, place = score + focal.item(), place + box.item()
            keys, count = keys + points.item(), count + float(hits)
        figures = {"score": score / count, "box": place / count, "keys": keys / count}
        return total / count, {k: round(v, 4) for k, v in figures.items()}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Recall, precision and error of the frame on pictures made of dev faces."""
        keep, self.rng = self.rng, np.random.default_rng(7)
        self.pool = self.dev
        hits = faces = finds = 0
        errors = []
        for _ in range(12):
            batch = self.batch(12)
            levels = model(batch["images"])
            rows = torch.cat([decode(m, s) for m, s in zip(levels, STRIDES, strict=True)], 1)
            for row, truth in zip(rows, batch["faces"], strict=True):
                kept = peaks(row[row[:, 0] > 0.5])
                real = truth[truth[:, 0] > 0]
                near = truth[truth[:, 0] >= 0]
                gap = (kept[:, None, 1:3] - near[None, :, 1:3]).norm(dim=-1) / near[None, :, 3]
                finds += int((gap.amin(1) > 0.4).sum()) if len(near) else len(kept)
                gap = (kept[:, None, 1:3] - real[None, :, 1:3]).norm(dim=-1) / real[None, :, 3]
                faces += len(real)
                if len(kept) and len(real):
                    best, which = gap.min(0)
                    hits += int((best < 0.25).sum())
                    size = (kept[which, 3] / real[:, 3]).log().abs()
                    errors += (best + size)[best < 0.25].tolist()
        self.rng, self.pool = keep, self.train
        return {
            "recall": round(hits / max(faces, 1), 4),
            "false": finds,
            "faces": faces,
            "frame": round(float(np.mean(errors or [1.0])), 4),
        }


def assign(
    faces: Tensor, size: tuple[int, int], stride: int, low: float, high: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What the cells of a level should say.

    Args:
        faces: ``(B, N, 15)`` as `DetectionTask.batch` gives them.
        size: rows and columns of the level.
        stride: pixels of a cell.
        low: least side of a face of this level.
        high: largest side.

    Returns:
        Cells of a face ``(B, h, w)``, cells that do not count, and targets ``(B, h, w, 15)``.
    """
    v, u = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    middle = torch.stack([u, v], -1)
    wanted = torch.zeros(len(faces), *size, dtype=torch.bool)
    ignored, target = wanted.clone(), torch.zeros(len(faces), *size, 15)
    for b, rows in enumerate(faces):
        for row in rows[rows[:, 0] >= 0]:
            side = row[3] / stride
            gap = (row[1:3] / stride - middle).abs().amax(-1)
            core = gap < torch.clamp(side * 0.14, min=0.55)
            around = gap < side * 0.45
            # A size near the border of two levels may be found on either.
            near = bool(low / 1.4 <= row[3] < high * 1.4)
            mine = bool(low / 1.15 <= row[3] < high * 1.15) and row[0] > 0
            ignored[b] |= around if near or row[0] == 0 else core
            if mine:
                wanted[b] |= core
                points = (row[5:].view(5, 2) - row[1:3]) / row[3]
                same = torch.cat(
                    [side.log()[None], row[4].cos()[None], row[4].sin()[None], points.flatten()]
                )
                target[b, core] = torch.cat(
                    [row[1:3] / stride - middle[core], same.expand(int(core.sum()), -1)], -1
                )
            elif row[0] > 0 and not near:
                ignored[b] &= ~core
    return wanted, ignored & ~wanted, target


def peaks(rows: Tensor) -> Tensor:
    """The surest of rows ``(N, 15)`` that describe the same face."""
    rows, kept = rows[rows[:, 0].argsort(descending=True)], list[Tensor]()
    for row in rows:
        if all((row[1:3] - k[1:3]).norm() > 0.35 * torch.maximum(row[3], k[3]) for k in kept):
            kept.append(row)
    return torch.stack(kept) if kept else rows.new_zeros(0, 15)


def _covered(below: Pasted, above: Pasted) -> float:
    """Share of a face's square under the head that was pasted over it."""
    reach = above.side * 0.85
    low = np.maximum(below.centre - below.side / 2, above.centre - reach)
    high = np.minimum(below.centre + below.side / 2, above.centre + reach)
    return float(np.prod(np.clip(high - low, 0, None)) / below.side**2)


def _photos_without_faces() -> list[Picture]:
    """Pictures of things that scikit-image carries, if it is installed."""
    try:
        from skimage import data
    except ImportError:
        return []
    names = [
        "brick",
        "chelsea",
        "coffee",
        "coins",
        "grass",
        "gravel",
        "moon",
        "page",
        "text",
        "rocket",
        "hubble_deep_field",
        "clock",
        "colorwheel",
        "immunohistochemistry",
        "retina",
        "cell",
    ]
    found = []
    for name in names:
        picture = np.asarray(getattr(data, name)())
        if picture.ndim == 2:
            picture = np.repeat(picture[..., None], 3, 2)
        found.append(np.ascontiguousarray(picture[..., :3]).astype(np.uint8))
    return found
