# SPDX-License-Identifier: Apache-2.0
"""Run FORD over the training faces once and keep its codes for the generator's training.

``python -m facex.train.encode_faces --cache DIR --index index.csv --ford DIR --out codes.npz``

Landmarks and blendshapes are the cache's own labels, which FORD's motion network imitates; all
other codes come from FORD's networks. With ``--only`` some codes are made again and the others of
an existing file are kept, so that a better identity network does not cost another parsing.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facex.ford.decompose import FORD
from facex.ford.motion import MotionExtractor
from facex.ford.representation import EXTRACTED_FIELDS
from facex.models.mini_ford import load_mini_ford
from facex.train.arguments import faces_parser
from facex.train.augment import to_float
from facex.train.facecache import FaceCache

KEEP_FLOAT32 = ("landmarks", "scale", "translation", "rotation", "shape", "residual")
"""Codes that geometry is made of; all others are kept in half precision."""


def choose(cache: FaceCache, limit: int, terms: str | None) -> NDArray[np.int64]:
    """Training faces worth learning from: not enlarged, hardly padded; at most ``limit``."""
    rows = cache.rows
    good = [
        i
        for i in cache.select("train", terms)
        if float(rows[i]["scale"]) >= 0.7 and float(rows[i]["pad"]) < 0.25
    ]
    rng = np.random.default_rng(0)
    return np.sort(rng.permutation(np.array(good))[:limit])


def encode(
    ford: FORD, images: Tensor, landmarks: Tensor, expression: Tensor, wanted: set[str]
) -> dict[str, Tensor]:
    """Run the extractors that provide something wanted on labelled faces."""
    found: dict[str, Tensor] = {"landmarks": landmarks, "expression": expression}
    for extractor in ford.extractors:
        if isinstance(extractor, MotionExtractor) or not wanted & set(extractor.provides):
            continue
        found.update(extractor(images, found))
    return found


def main() -> None:
    """Command line."""
    parser = faces_parser(__doc__)
    parser.add_argument("--ford", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--limit", type=int, default=100_000)
    parser.add_argument("--terms", choices=["open", "research"])
    parser.add_argument("--split", default="train", choices=["train", "dev"])
    parser.add_argument("--only", help="fields to make again, separated by commas")
    args = parser.parse_args()
    cache, ford = FaceCache.open(args.cache, args.index), load_mini_ford(args.ford)
    chosen = choose(cache, args.limit, args.terms)
    if args.split == "dev":
        chosen = cache.select("dev", args.terms)[: args.limit]
    wanted = set(args.only.split(",")) if args.only else set(EXTRACTED_FIELDS)
    kept: dict[str, Any] = {}
    if args.only and args.out.exists():
        with np.load(args.out) as file:
            kept = {name: file[name] for name in file.files}
        chosen = kept.pop("index")
    found: dict[str, list[Any]] = defaultdict(list)
    with torch.inference_mode():
        for chunk in np.array_split(chosen, max(1, len(chosen) // 8)):
            images = to_float([np.asarray(cache.faces[i]) for i in chunk])
            points = torch.from_numpy(cache.points[chunk])
            blend = torch.from_numpy(cache.blendshapes[chunk])
            for name, value in encode(ford, images, points, blend, wanted).items():
                if name in wanted:
                    half = value.dtype == torch.float32 and name not in KEEP_FLOAT32
                    found[name].append((value.half() if half else value).numpy())
    kept |= {name: np.concatenate(parts) for name, parts in found.items()}
    np.savez(args.out, index=chosen, **kept)
    print(f"{len(chosen)} faces encoded: {', '.join(sorted(found))}")


if __name__ == "__main__":
    main()
