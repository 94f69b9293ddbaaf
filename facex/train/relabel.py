# SPDX-License-Identifier: Apache-2.0
"""Label more faces for the parser by the parser itself, averaged over views of each face.

``python -m facex.train.relabel --cache DIR --index index.csv --parser DIR --count 3000``

Masks go to ``parsing_self/`` of the cache, from where ``python -m facex.train.ford parsing`` takes
them beside the labeller's. The average is better than any single view; where it is unsure the mask
is 255, which training leaves out (self-training with a confidence threshold).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from facex.ford.parsing import ParsingNet
from facex.models.mini_ford import load_network
from facex.train.arguments import faces_parser
from facex.train.augment import to_float
from facex.train.facecache import FaceCache
from facex.types import PARSING_MIRROR

FOLDER: Final = "parsing_self"
UNSURE: Final = 255
LEAST: Final = 0.65
"""Averaged probability from which a pixel is labelled."""
_ZOOM: Final = 1.15
_LARGER: Final = 1.25
"""Of the network's own side: eyes and brows are drawn finer then, hair and ground no better."""


@torch.inference_mode()
def averaged(net: ParsingNet, images: Tensor) -> Tensor:
    """Class probabilities over a face and its mirror image, both read larger and nearer, too.

    Args:
        net: the parser.
        images: ``(B, 3, S, S)`` RGB in [-1, 1].

    Returns:
        ``(B, 19, S, S)``, sums to 1 over the classes.
    """
    side = images.shape[-1]
    margin = round(side * (1 - 1 / _ZOOM) / 2)
    inner = slice(margin, side - margin)
    near = torch.nn.functional.interpolate(
        images[..., inner, inner], size=(side, side), mode="bicubic", antialias=True
    )
    whole, close = (_both_sides(net, view) for view in (images, near))
    larger = _both_sides(net, images, 32 * round(_LARGER * net.config["size"] / 32))
    whole = (2 * whole + larger) / 3
    size = side - 2 * margin
    close = torch.nn.functional.interpolate(close, size=(size, size), mode="bilinear")
    whole[..., inner, inner] = (whole[..., inner, inner] + close) / 2
    return whole


def _both_sides(net: ParsingNet, images: Tensor, side: int | None = None) -> Tensor:
    plain = net(images, side).softmax(1)
    mirrored = net(images.flip(-1), side).softmax(1).flip(-1)[:, list(PARSING_MIRROR)]
    return torch.as_tensor((plain + mirrored) / 2)


def main() -> None:
    """Command line."""
    parser = faces_parser(__doc__)
    parser.add_argument("--parser", required=True, type=Path)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    cache = FaceCache.open(args.cache, args.index)
    net = load_network(ParsingNet, args.parser)
    labelled = {path.stem for path in (cache.folder / "parsing").glob("*.png")}
    rest = [int(i) for i in cache.select("train") if str(cache.names[i]) not in labelled]
    chosen = np.random.default_rng(args.seed).permutation(rest)[: args.count]
    folder = cache.folder / FOLDER
    folder.mkdir(exist_ok=True)
    for number, i in enumerate(chosen):
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            found = averaged(net, to_float([np.asarray(cache.faces[i])]))
        shares, classes = found.float().max(1)
        mask = torch.where(shares[0] < LEAST, UNSURE, classes[0]).byte().numpy()
        cv2.imwrite(str(folder / f"{cache.names[i]}.png"), mask)
        if number % 200 == 0:
            print(f"{number} of {len(chosen)}: {(mask == UNSURE).mean():.1%} unsure", flush=True)


if __name__ == "__main__":
    main()
