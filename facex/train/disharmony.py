# SPDX-License-Identifier: Apache-2.0
"""Faults that edits of strangers show and damage of one photo does not, painted into repairs.

A repair's reference comes from the same person, so the comparison of colours fits it too
well: no second light on the mirrored half, no patch of another complexion, no line along the
hairline. What looking at random edits found is imitated here, inside the edit; the photo is the
answer. Everything takes a batch and one source of randomness, so a resumed run sees the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from facex.frc.native import box_blur
from facex.geometry.topology import region_polygon_mask

Faults: TypeAlias = Callable[[Tensor, dict[str, Tensor], np.random.Generator], Tensor]


def disharmonize(batch: dict[str, Tensor], rng: np.random.Generator) -> Tensor:
    """Composites with faults painted into a random part of the batch each.

    Args:
        batch: ``composite`` (B, 3, S, S) in [-1, 1], ``truth``, ``edit``, ``geometry`` and
            ``points`` (`facex.train.composites.Composites.batch`).
        rng: source of randomness.

    Returns:
        ``(B, 3, S, S)`` in [-1, 1]; the composites themselves outside of the edit.
    """
    eyes = features(batch["points"], batch["edit"].shape[-1])
    count = len(eyes)
    # Also on the photo itself, so that what is sharp and right is left alone.
    from_truth = _chosen(rng, count, _FROM_TRUTH)
    images = torch.where(from_truth, batch["truth"], batch["composite"])
    seen = {**batch, "eyes": eyes}
    for share, fault in _FAULTS:
        rows = torch.from_numpy(np.flatnonzero(rng.random(count) < share))
        if len(rows):
            part = {name: seen[name][rows] for name in ("edit", "geometry", "eyes")}
            images[rows] = fault(images[rows] / 2 + 0.5, part, rng).clamp(0, 1) * 2 - 1
    return batch["composite"] + (images - batch["composite"]) * batch["edit"]


def features(points: Tensor, size: int) -> Tensor:
    """``(B, 1, S, S)``, 1 in eyes and mouth."""
    masks = []
    for face in points.numpy():
        parts = [region_polygon_mask(face, name, size) for name in ("eyes", "lips")]
        masks.append(np.maximum(*parts))
    return torch.from_numpy(np.stack(masks).astype(np.float32))[:, None]


def mislit(images: Tensor, batch: dict[str, Tensor], rng: np.random.Generator) -> Tensor:
    """Lit and tinted otherwise than what is around, as another photo's face would be."""
    count, size = len(images), images.shape[-1]
    whole = _normal(rng, (count, 1, 1, 1), 0.16) + _normal(rng, (count, 3, 1, 1), 0.05)
    field = _field(rng, count, 1, 4, size) * 0.12 + _field(rng, count, 3, 4, size) * 0.03
    gamma = _normal(rng, (count, 1, 1, 1), 0.12).exp()
    return _lit(images.clamp(1e-3, 1) ** gamma, field + whole)


def _foreign_skin(images: Tensor, batch: dict[str, Tensor], rng: np.random.Generator) -> Tensor:
    """Another complexion: darker or paler by far, and greyer or redder."""
    count = len(images)
    gain = _normal(rng, (count, 1, 1, 1), 0.3) + _normal(rng, (count, 3, 1, 1), 0.08)
    grey = images.mean(1, keepdim=True)
    return _lit(images + (grey - images) * _uniform(rng, count, -0.4, 0.8), gain)


def _second_light(images: Tensor, batch: dict[str, Tensor], rng: np.random.Generator) -> Tensor:
    """One half of the face in another light, or both halves as mirrors of one another."""
    count = len(images)
    across = box_blur(batch["geometry"][:, :1], 7)
    offset, width = _uniform(rng, count, -0.4, 0.4), _uniform(rng, count, 0.06, 0.6)
    mirrored = _chosen(rng, count, 0.4)
    place = torch.where(mirrored, across.abs() - 0.35, across - offset)
    side = torch.tanh(place / width) * (batch["geometry"].abs().sum(1, keepdim=True) > 0)
    depth = _normal(rng, (count, 1, 1, 1), 0.3) + _normal(rng, (count, 3, 1, 1), 0.03)
    return _lit(images, box_blur(side, 9) * depth)


def _patches(images: Tensor, batch: dict[str, Tensor], rng: np.random.Generator) -> Tensor:
    """Patches with hard or soft borders: of another tone, and blurred as lent skin is."""
    count, size = len(images), images.shape[-1]
    noise = _field(rng, count, 1, int(rng.integers(3, 14)), size)
    sharp = _uniform(rng, count, 1.5, 12)
    mask = torch.sigmoid((noise - _uniform(rng, count, 0.4, 1.2)) * sharp)
    tone = _normal(rng, (count, 1, 1, 1), 0.22) + _normal(rng, (count, 3, 1, 1), 0.06)
    soft = box_blur(box_blur(images, int(rng.choice([5, 9, 13]))), 5)
    inside = _lit(torch.where(_chosen(rng, count, 0.35), soft, images), tone)
    return images + (inside - images) * mask


def _rim(images: Tensor, batch: dict[str, Tensor], rng: np.random.Generator) -> Tensor:
    """A line or band of old skin, hair or light along the border of the edit."""
    count = len(images)
    width = int(rng.choice([9, 15, 25, 41]))
    inner = box_blur((batch["edit"] > 0.5).float(), width)
    band = (1 - ((inner - _uniform(rng, count, 0.6, 0.95)) * 8).clamp(0, 1)) * (inner > 0.3)
    place = torch.sigmoid(_field(rng, count, 1, 3, images.shape[-1]) * 4)
    tone = _normal(rng, (count, 1, 1, 1), 0.25) + _normal(rng, (count, 3, 1, 1), 0.05)
    return _lit(images, box_blur(band, 5) * place * tone)


def _features(images: Tensor, batch: dict[str, Tensor], rng: np.random.Generator) -> Tensor:
    """Eyes and lips in the light of another photo, or out of focus."""
    count = len(images)
    place = box_blur(batch["eyes"], 5)
    tone = _normal(rng, (count, 1, 1, 1), 0.22) + _normal(rng, (count, 3, 1, 1), 0.05)
    soft = box_blur(images, 3)
    inside = _lit(torch.where(_chosen(rng, count, 0.4), soft, images), tone)
    return images + (inside - images) * place


def _contrast(images: Tensor, batch: dict[str, Tensor], rng: np.random.Generator) -> Tensor:
    """Flatter or harsher than the photo."""
    count = len(images)
    edit = batch["edit"]
    mean = (images * edit).sum((2, 3), keepdim=True) / edit.sum((2, 3), keepdim=True).clamp_min(1)
    return mean + (images - mean) * _normal(rng, (count, 1, 1, 1), 0.25).exp()


_FROM_TRUTH: Final = 0.7
_FAULTS: Final[tuple[tuple[float, Faults], ...]] = (
    (0.2, _foreign_skin),
    (0.6, mislit),
    (0.35, _second_light),
    (0.45, _patches),
    (0.35, _rim),
    (0.25, _features),
    (0.2, _contrast),
)
"""How often each is seen, in the order in which they are painted."""


def _lit(images: Tensor, gain: Tensor) -> Tensor:
    """Pictures in [0, 1] times ``exp(gain)`` where they are dark; what is bright never clips."""
    images = images.clamp(0, 1)
    factor = (1.4 * gain).exp()
    return images * factor / (1 + images * (factor - 1))


def _chosen(rng: np.random.Generator, count: int, share: float) -> Tensor:
    return torch.from_numpy(rng.random((count, 1, 1, 1)) < share)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> Tensor:
    return torch.from_numpy(rng.normal(0, deviation, shape)).float()


def _uniform(rng: np.random.Generator, count: int, low: float, high: float) -> Tensor:
    return torch.from_numpy(rng.uniform(low, high, (count, 1, 1, 1))).float()


def _field(rng: np.random.Generator, count: int, channels: int, cells: int, size: int) -> Tensor:
    """Smooth noise of about unit deviation, ``(count, channels, size, size)``."""
    grid = _normal(rng, (count, channels, cells, cells), 1.0)
    return F.interpolate(grid, (size, size), mode="bicubic", align_corners=False)
