# SPDX-License-Identifier: Apache-2.0
"""Training of the recognition network: a teacher's embeddings, people, and composites."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from facex.ford.identity import ALIGN_POINTS, IdentityNet, align_for_identity
from facex.train import augment
from facex.train.augment import to_float
from facex.train.distill import Batch
from facex.train.facecache import FaceCache

_SCALE: Final = 32.0
"""Inverse temperature of the people's scores."""
_MARGIN: Final = 0.1
"""By how much a face must be nearer to its person than to the others (CosFace)."""
_COMPOSITES: Final = 0.3
"""Share of the batch in which the inner face is another person's.

Without them a small network goes by hair and surroundings: it took swapped faces for the target,
where the teacher saw the source."""

Picture = NDArray[np.uint8]


class IdentityTask:
    """Embeddings of a strong recogniser, from augmented crops."""

    def __init__(self, cache: FaceCache, seed: int) -> None:
        self.cache, self.rng = cache, np.random.default_rng(seed)
        self.train, self.dev = cache.select("train"), cache.select("dev")
        self.target = F.normalize(torch.from_numpy(cache.embeddings()), dim=1)
        people = [cache.rows[i]["person"] or str(i) for i in self.train]
        names = {name: number for number, name in enumerate(dict.fromkeys(people))}
        self.person = torch.zeros(len(cache.names), dtype=torch.long)
        self.person[torch.from_numpy(self.train)] = torch.tensor([names[p] for p in people])
        # A person is where the teacher sees them on average.
        sums = torch.zeros(len(names), self.target.shape[1])
        sums.index_add_(0, self.person[self.train], self.target[self.train])
        self.prototypes = F.normalize(sums, dim=1)
        self.teacher: Any = None

    def model(self) -> IdentityNet:
        """A new network."""
        return IdentityNet()

    def judge_composites(self, teachers: Path) -> None:
        """Load the teacher itself, so that composites can be made and labelled."""
        self.teacher = torch.jit.load(str(teachers / "id_edgeface_xs.ts.pt")).eval()

    def crops(self, chosen: NDArray[np.int64], jitter: float) -> Tensor:
        """Aligned recognition crops, with landmarks moved at random."""
        points = torch.from_numpy(self.cache.points[chosen])
        noise = torch.from_numpy(self.rng.normal(0, jitter, (len(chosen), len(ALIGN_POINTS), 2)))
        points[:, list(ALIGN_POINTS), :2] += noise.float()
        faces = to_float([np.asarray(self.cache.faces[i]) for i in chosen])
        return align_for_identity(faces, points)

    def composite(self, inner: Picture, outer: Picture) -> Picture:
        """The inner face of one crop in another one, with the other's mean colours."""
        mask = np.zeros(inner.shape[:2], np.uint8)
        axes = (int(self.rng.integers(28, 38)), int(self.rng.integers(36, 46)))
        cv2.ellipse(mask, (56, 70), axes, 0, 0, 360, 255, -1)
        soft = cv2.GaussianBlur(mask, (0, 0), float(self.rng.uniform(2, 5))) / 255.0
        inside, outside = inner[mask > 0], outer[mask > 0]
        spread = np.clip(outside.std(0) / np.maximum(inside.std(0), 1), 0.6, 1.6)
        share = float(self.rng.uniform(0.3, 1))
        fitted = (inner - inside.mean(0)) * spread + outside.mean(0)
        coloured = inner + (fitted - inner) * share
        mixed = outer + (coloured - outer) * soft[..., None]
        return np.asarray(np.clip(mixed, 0, 255), np.uint8)

    def batch(self, size: int) -> Batch:
        """A random training batch; half of the crops are mirrored."""
        chosen = self.rng.choice(self.train, size)
        target, person = self.target[chosen], self.person[chosen]
        views = _pixels(self.crops(chosen, 2.5))
        made = round(size * _COMPOSITES) if self.teacher is not None else 0
        if made:
            others = _pixels(self.crops(self.rng.choice(self.train, made), 2.5))
            clean = [self.composite(views[k], others[k]) for k in range(made)]
            with torch.inference_mode():
                seen = F.normalize(self.teacher((to_float(clean) + 1) / 2), dim=1)
            target = torch.cat([seen.clone(), target[made:]])
            views = [*clean, *views[made:]]
        images = []
        for crop in views:
            view = np.ascontiguousarray(crop[:, ::-1] if self.rng.random() < 0.5 else crop)
            if self.rng.random() < 0.2:
                donor = np.asarray(self.cache.faces[self.rng.choice(self.train)])[72:184, 72:184]
                view, _ = augment.random_occluder(view, self.rng, donor)
            images.append(augment.photometric(view, self.rng))
        # What a composite still shows of its person is the teacher's to say, not the margin's.
        sure = torch.ones(size)
        sure[:made] = 0.0
        return {"images": to_float(images), "target": target, "person": person, "sure": sure}

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Cosine to the teacher, and to the own person against all others."""
        _, embedding = model(batch["images"])
        cosine = (embedding * batch["target"]).sum(1)
        scores = embedding @ self.prototypes.T
        own = F.one_hot(batch["person"], len(self.prototypes)).to(scores) * _MARGIN
        each = F.cross_entropy((scores - own) * _SCALE, batch["person"], reduction="none")
        people = (each * batch["sure"]).sum() / batch["sure"].sum().clamp_min(1)
        first = (scores.argmax(1) == batch["person"]).float()[batch["sure"] > 0]
        loss = (1 - cosine).mean() * 6 + people * 0.25
        made = cosine[batch["sure"] == 0]
        return loss, {
            "cos": round(cosine[batch["sure"] > 0].mean().item(), 4),
            "composites": round(made.mean().item(), 4) if len(made) else 0.0,
            "people": round(people.item(), 3),
            "first": round(first.mean().item(), 3),
        }

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Same/different people among the dev faces: area under the curve."""
        found = []
        for chunk in np.array_split(self.dev, 24):
            found.append(model(self.crops(chunk, 0.0))[1])
        embedding = torch.cat(found)
        people = np.array([self.cache.rows[i]["person"] for i in self.dev])
        same = torch.from_numpy(people[:, None] == people[None])
        upper = torch.ones_like(same).triu(1).bool()
        scores = embedding @ embedding.T
        positive, negative = scores[same & upper], scores[~same & upper]
        rank = torch.searchsorted(negative.sort().values, positive).float() / len(negative)
        threshold = (
            negative.quantile(0.99)
            if len(negative) < 1e7
            else negative.topk(len(negative) // 100).values.min()
        )
        cosine = (embedding * self.target[self.dev]).sum(1).mean()
        return {
            "auc": round(rank.mean().item(), 4),
            "tar@1%": round((positive > threshold).float().mean().item(), 4),
            "cos": round(cosine.item(), 4),
            "pairs": len(positive),
        }


def _pixels(crops: Tensor) -> list[Picture]:
    """uint8 pictures of crops in [-1, 1]."""
    values = ((crops.permute(0, 2, 3, 1) + 1) * 127.5).clamp(0, 255).numpy().astype(np.uint8)
    return list(values)
