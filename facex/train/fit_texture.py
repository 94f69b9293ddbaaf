# SPDX-License-Identifier: Apache-2.0
"""Fit the components of the dense albedo to training faces, each of which shows only part of it.

``python -m facex.train.fit_texture --cache DIR --index FILE --codes codes.npz --out FOLDER``

What a face hides is filled from its other half, then from the mean, then from the components found
so far: principal components of incomplete data by expectation and maximisation (Roweis 1998).
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facex.geometry.albedo import AlbedoModel, bare_face, measure, mirror_values
from facex.train.arguments import faces_parser
from facex.train.augment import to_float
from facex.train.codes import Codes
from facex.train.facecache import FaceCache

_ROUNDS = 3
_CHUNK = 64
_LEAST_SEEN = 0.35
"""Share of the chart that a face must show to be learned from."""


def read(cache: FaceCache, codes: Codes) -> tuple[Tensor, Tensor]:
    """Albedos (F, N) and how far they are seen (F, N) of all faces with codes, half precision."""
    arrays = codes.arrays
    values, weights = [], []
    for chunk in np.array_split(np.arange(len(codes)), max(1, len(codes) // _CHUNK)):
        images = to_float([np.asarray(cache.faces[i]) for i in arrays["index"][chunk]])
        points = torch.from_numpy(arrays["landmarks"][chunk]).float()
        light = torch.from_numpy(arrays["light"][chunk].astype(np.float32))
        seen = bare_face(torch.from_numpy(arrays["parsing"][chunk]))
        value, weight = measure(images, points, light, seen)
        values.append(value.half())
        weights.append(weight.half())
    return torch.cat(values), torch.cat(weights)


def fit(values: Tensor, weights: Tensor, size: int, seed: int = 0) -> AlbedoModel:
    """Components of faces (F, N), both mirror images of each counted.

    Args:
        values: albedos, as ``facex.geometry.albedo.measure`` gives them.
        weights: how far each is seen.
        size: number of components.
        seed: of the randomised decomposition.
    """
    torch.manual_seed(seed)
    enough = weights.float().mean(1) > _LEAST_SEEN
    values, weights = values[enough], weights[enough]
    order = mirror_values()
    total = torch.zeros(values.shape[1])
    count = torch.zeros(values.shape[1])
    for value, weight in zip(values.split(1024), weights.split(1024), strict=True):
        total += (value.float() * weight.float()).sum(0)
        count += weight.float().sum(0)
    mean = total / count.clamp_min(1e-3)
    mean = (mean + mean[order]) / 2
    found = torch.zeros(len(values), 0)
    components = torch.zeros(0, values.shape[1])
    for _ in range(_ROUNDS):
        filled = torch.empty(2 * len(values), values.shape[1])
        for start in range(0, len(values), 1024):
            part = slice(start, start + 1024)
            weight = weights[part].float()
            guess = found[part] @ components
            whole = weight * (values[part].float() - mean) + (1 - weight) * guess
            filled[start : start + len(whole)] = whole
            filled[len(values) + start : len(values) + start + len(whole)] = whole[:, order]
        _, s, v = torch.svd_lowrank(filled, q=size + 32, niter=4)
        components = v[:, :size].mT.contiguous()
        std = s[:size] / len(filled) ** 0.5
        rest = filled.square().sum() / len(filled) - std.square().sum()
        noise = (rest / filled.shape[1]).clamp_min(1e-8).sqrt()
        shrink = std**2 / (std**2 + noise**2)
        found = (filled[: len(values)] @ components.mT) * shrink
    scale = components.abs().amax(1) / 127
    basis = (components / scale[:, None]).round().to(torch.int8)
    return AlbedoModel(mean, basis, scale, std, noise)


def main() -> None:
    """Command line."""
    parser = faces_parser(__doc__, codes=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--size", type=int, default=256)
    args = parser.parse_args()
    begin = time.monotonic()
    values, weights = read(FaceCache.open(args.cache, args.index), Codes.load(args.codes))
    model = fit(values, weights, args.size)
    model.save(args.out)
    seconds = time.monotonic() - begin
    print(f"{len(values)} faces, {model.size} components, noise {model.noise:.4f}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
