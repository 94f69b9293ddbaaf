# SPDX-License-Identifier: Apache-2.0
"""Samples of the generator (`facex.train.samples`), made once and kept in shards.

``python -m facex.train.stored --cache DIR --index index.csv --codes codes.npz --out DIR
[--strangers DIR] [--count N] [--first N]``

A sample takes a core a quarter of a second, a step of eight on stored ones about one; so on few
cores samples are stored, and seen several times.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch

from facex.train.arguments import add_shards, faces_parser
from facex.train.codes import Codes
from facex.train.facecache import FaceCache
from facex.train.samples import Sample, SampleMaker
from facex.train.shards import Row, Shards, pack, unpack, write_shards
from facex.train.strangers import Strangers

CHANNELS: Final = {"target": 3, "reference": 3, "known": 1, "edit": 1, "geometry": 3}
"""Order of the channels of a stored picture."""


def row_of(sample: Sample) -> Row:
    """A sample as it is stored: its codes are known by their row."""
    return {"pictures": pack(sample, CHANNELS), "row": sample["row"], "kind": sample["kind"]}


class StoredSamples(Shards):
    """The samples of a folder of shards."""

    def sample(self, number: int, codes: Codes, rng: np.random.Generator) -> Sample:
        """One of them, as :meth:`SampleMaker.sample` makes it.

        Args:
            number: which.
            codes: that it was made with.
            rng: of the light that the colours of its regions are seen in.
        """
        row = int(self.value("row", number))
        codes_of = {"inputs": codes.inputs(row, rng), "present": codes.present(row)}
        parts = unpack(self.pictures(number), CHANNELS)
        return {**parts, **codes_of, "kind": int(self.value("kind", number)), "row": row}


def main() -> None:
    """Command line."""
    parser = faces_parser(__doc__, codes=True)
    add_shards(parser)
    parser.add_argument("--strangers", type=Path, help="folder of facex.train.strangers")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    strangers = Strangers(args.strangers) if args.strangers else None
    cache, codes = FaceCache.open(args.cache, args.index), Codes.load(args.codes)
    maker = SampleMaker(cache, codes, 0, strangers=strangers)

    def make(number: int) -> Row:
        maker.rng = np.random.default_rng([0, number, 4])
        return row_of(maker.sample())

    write_shards(args.out, args.first, args.count, make)


if __name__ == "__main__":
    main()
