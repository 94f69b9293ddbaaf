# SPDX-License-Identifier: Apache-2.0
"""Samples of a personalised base: a photo as the reference, its filtered self as the answer."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from facex.geometry.texture_map import render_position_map
from facex.train import augment
from facex.train.codes import SIZE, Codes
from facex.train.facecache import FaceCache
from facex.train.style.filters import Filter

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

_GROUND: Final = 0.3
"""Share of samples without a face: pieces of photos with no tokens and no mesh, as the rest of a
photo around its face is drawn."""


class StyleSamples(Dataset[dict[str, Any]]):
    """Sample number n, made from nothing but the seed and n.

    Args:
        cache: faces.
        codes: their codes.
        style: the filter.
        seed: of the choice of faces and pieces.
        count: how many samples there are.
    """

    def __init__(
        self, cache: FaceCache, codes: Codes, style: Filter, seed: int, count: int
    ) -> None:
        self.cache, self.codes, self.style = cache, codes, style
        self.seed, self.count = seed, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, Any]:
        """``reference``, ``target`` and ``styled`` (3, S, S) in [-1, 1], and the condition."""
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, number])
        row = int(rng.integers(len(self.codes)))
        photo = np.asarray(self.cache.faces[int(self.codes.arrays["index"][row])])
        inputs, present = self.codes.inputs(row), self.codes.present(row)
        if rng.random() < _GROUND:
            photo = _piece(photo, rng)
            geometry = np.zeros((3, SIZE, SIZE), np.float32)
            present = dict.fromkeys(present, False)
        else:
            points = np.asarray(self.codes.points(row))
            geometry = render_position_map(points, SIZE)
        seen = augment.photometric(photo, rng, 0.3)
        plain = np.asarray(seen / np.float32(255), np.float32)
        styled = np.clip(self.style(plain), 0, 1).astype(np.float32)
        whole = torch.ones(1, SIZE, SIZE)
        return {
            "target": _chw(plain),
            "reference": _chw(plain),
            "styled": _chw(styled),
            "known": whole,
            "edit": whole,
            "geometry": torch.from_numpy(geometry),
            "inputs": inputs,
            "present": present,
        }


def _piece(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """A square of a photo at some scale, turned and mirrored at random."""
    side = int(rng.uniform(0.4, 1.0) * SIZE)
    y, x = rng.integers(0, SIZE - side + 1, 2)
    piece = cv2.resize(photo[y : y + side, x : x + side], (SIZE, SIZE))
    piece = np.rot90(piece, int(rng.integers(4)))
    return np.ascontiguousarray(piece[:, ::-1] if rng.random() < 0.5 else piece)


def _chw(image: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) * 2 - 1
