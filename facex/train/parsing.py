# SPDX-License-Identifier: Apache-2.0
"""Training of the parser from noisy labels."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from facex.ford.outlines import mended_outlines
from facex.ford.parsing import SIDE, ParsingNet
from facex.geometry.band import filled
from facex.geometry.topology import FACE_OVAL
from facex.train import augment, relabel
from facex.train.augment import to_float
from facex.train.distill import Batch
from facex.train.facecache import FaceCache
from facex.train.locks import without_locks
from facex.types import PARSING_CLASSES, PARSING_MIRROR

_WORN: Final = {"eye_g": 0.15, "hat": 0.08, "hair": 0.2}
"""How often a face gets the glasses, the hat or the fringe of another one, to see more of what is
rare."""
_WORN_LEAST: Final = 200
"""Pixels that make a pair of glasses or a hat."""
_OCCLUDED: Final = 0.2
"""How often something lies over the face, which counts as background."""
_LOCKS: Final = 0.15
"""How often a lock of its own hair lies over it."""
_HAIR: Final = PARSING_CLASSES.index("hair")
_FACE: Final = [PARSING_CLASSES.index(name) for name in ("skin", "nose", "l_brow", "r_brow")]


class ParsingTask:
    """Class maps from noisy labels, the labeller's or its own; unsure pixels (255) are ignored.

    Locks of hair that they call skin are mended first (`facex.train.locks`), then the outlines of
    noses and eyes (`facex.ford.outlines`).
    """

    def __init__(self, cache: FaceCache, seed: int) -> None:
        self.cache, self.rng = cache, np.random.default_rng(seed)
        own = {p.stem: p for p in (cache.folder / relabel.FOLDER).glob("*.png")}
        known = {p.stem: p for p in (cache.folder / "parsing").glob("*.png")}
        files = own | known
        self.train = [i for i in cache.select("train") if str(cache.names[i]) in files]
        self.dev = [i for i in cache.select("dev") if str(cache.names[i]) in known][::4]
        self.labels = {
            int(i): np.asarray(cv2.imread(str(files[str(cache.names[i])]), -1), np.uint8)
            for i in [*self.train, *self.dev]
        }
        for i in self.train:
            face, points = np.asarray(cache.faces[i]), cache.points[i]
            self.labels[int(i)] = without_locks(face, self.labels[int(i)], points)
        for i in [*self.train, *self.dev]:
            self.labels[int(i)] = mended_outlines(self.labels[int(i)], cache.points[i])
        self.worn = {name: [i for i in self.train if self._wears(i, name)] for name in _WORN}
        counts = np.zeros(256)
        for i in self.train[:500]:
            counts += np.bincount(self.labels[int(i)].ravel(), minlength=256)
        share = counts[:19] / counts[:19].sum()
        # Steeper weights find small classes sooner and draw them too large.
        self.weight = torch.tensor(np.clip((share + 1e-4) ** -0.2, 0.3, 12.0)).float()
        self.weight = self.weight / self.weight[1].clone()

    def model(self) -> ParsingNet:
        """A new network."""
        return ParsingNet()

    def sample(self, i: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """One augmented face, 256 px, and its label map, :data:`facex.ford.parsing.SIDE` px."""
        rng, image, label = self.rng, np.array(self.cache.faces[i]), self.labels[i].copy()
        for name, chance in _WORN.items():
            if self.worn[name] and rng.random() < chance:
                self._wear(image, label, name)
        if rng.random() < _LOCKS:
            image, lock = augment.random_lock(image, label == _HAIR, np.isin(label, _FACE), rng)
            label[lock] = _HAIR
        if rng.random() < 0.5:
            table = np.arange(256, dtype=np.uint8)
            table[:19] = PARSING_MIRROR
            image, label = image[:, ::-1], table[label[:, ::-1]]
        matrix = augment.random_similarity(rng, 256, 256, turn=0.4, zoom=0.2, shift=0.08)
        image = augment.warp(np.ascontiguousarray(image), matrix, 256)
        label = np.asarray(
            augment.warp(np.ascontiguousarray(label), matrix * (SIDE / 256), SIDE, nearest=True)
        )
        if rng.random() < _OCCLUDED:
            donor = np.asarray(self.cache.faces[int(rng.choice(self.train))])
            image, hidden = augment.random_occluder(image, rng, donor)
            label[cv2.resize(hidden.astype(np.uint8), (SIDE, SIDE)) > 0] = 0
        return augment.photometric(image, rng), label

    def _wears(self, i: int, name: str) -> bool:
        """Whether a face has enough of something for another one; of hair, over its face."""
        mask = self.labels[i] == PARSING_CLASSES.index(name)
        if name == "hair":
            mask &= filled(self.cache.points[i][list(FACE_OVAL), :2], len(mask)) > 0.5
        return bool(mask.sum() > _WORN_LEAST)

    def _wear(self, image: NDArray[np.uint8], label: NDArray[np.uint8], name: str) -> None:
        """Put on what somebody else wears: aligned faces have it in the same place."""
        other = int(self.rng.choice(self.worn[name]))
        mask = (self.labels[other] == PARSING_CLASSES.index(name)).astype(np.uint8)
        # Between strands there would be the other one's skin.
        whole = mask if name == "hair" else cv2.dilate(mask, np.ones((3, 3), np.uint8))
        soft = cv2.GaussianBlur(whole * 1.0, (0, 0), 0.8)
        shift = self.rng.integers(-6, 7, 2)
        donor, soft, hard = (
            np.roll(x, shift, (0, 1)) for x in (np.asarray(self.cache.faces[other]), soft, mask)
        )
        blend = image + (donor.astype(np.float32) - image) * soft[..., None]
        image[:] = np.clip(blend, 0, 255).astype(np.uint8)
        label[hard > 0] = PARSING_CLASSES.index(name)

    def batch(self, size: int) -> Batch:
        """A random training batch."""
        parts = [self.sample(int(i)) for i in self.rng.choice(self.train, size)]
        return {
            "images": to_float([p[0] for p in parts]),
            "labels": torch.from_numpy(np.stack([p[1] for p in parts])).long(),
        }

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Weighted cross-entropy at half resolution (the network's own)."""
        logits = model.features(batch["images"])[0]  # type: ignore[operator]
        labels = batch["labels"][:, ::2, ::2]
        loss = F.cross_entropy(logits, labels, self.weight, ignore_index=255)
        return loss, {"ce": round(loss.item(), 4)}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """F1 against the labeller on dev faces (not the truth: see the synthetic faces)."""
        hit, predicted, present = (torch.zeros(19) for _ in range(3))
        for i in self.dev:
            guess = model(to_float([np.asarray(self.cache.faces[i])])).argmax(1)[0]
            label = torch.from_numpy(self.labels[int(i)].astype(np.int64))
            valid = label != 255
            guess, label = guess[valid], label[valid]
            hit += torch.bincount(guess[guess == label], minlength=19)
            predicted += torch.bincount(guess, minlength=19)
            present += torch.bincount(label, minlength=19)
        f1 = 2 * hit / (predicted + present).clamp_min(1)
        keep = present > 0
        return {"f1_mean": round(f1[keep].mean().item(), 4), "hair": round(f1[13].item(), 4)}
