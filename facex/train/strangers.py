# SPDX-License-Identifier: Apache-2.0
"""Photos in which somebody else's face or head was put, so that the way back has a true answer.

``python -m facex.train.strangers --cache DIR --index index.csv --codes codes.npz --out DIR
[--count N] [--first N] [--model DIR]``

No photo shows what a swap of two strangers should look like. But when a stranger's face was put
into a photo, by the very code that users call, then putting the photo's own face back is an edit
between two people, with lent skin, another jaw, another complexion and another light all around,
and its answer is the photo. `facex.train.samples` makes such samples of what is stored here.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from facex.api import FaceX
from facex.editing import StepRunner, StepSettings
from facex.fors.face_picture import FacePicture
from facex.recipes.plan import Plan, plan_step
from facex.recipes.schema import Step
from facex.recipes.values import SOURCE
from facex.train.arguments import add_shards, faces_parser
from facex.train.facecache import FaceCache
from facex.train.shards import Row, Shards, write_shards

_HEADS: Final = 0.3
"""Share of whole heads."""
_STEPS: Final = 2
"""Of the generator: one answers nearly as many do (``docs/training-log.md``)."""
BROUGHT: Final[dict[str, dict[str, Any]]] = {
    "face": {
        "identity": "source",
        "regions": {"face": "source", "glasses": "source"},
        "edit": ("face", "glasses"),
    },
    "head": {
        "identity": "source",
        "hair": "source",
        "regions": {"head": "source"},
        "edit": ("head",),
    },
}
"""What comes from another photo with a face or a head, complexion aside: fields of a step."""
TAKEN: Final[dict[str, Plan]] = {
    taken: plan_step(Step.model_validate({**fields, "texture": "source"}))
    for taken, fields in BROUGHT.items()
}
"""A stranger's face and head, with their complexion."""


class StrangerMaker:
    """Puts random faces and heads into random photos.

    Args:
        model: makes the edits.
        cache: the photos.
        index: places in the cache of those that are used, ``(n,)``.
        seed: of all randomness.
    """

    def __init__(
        self, model: FaceX, cache: FaceCache, index: NDArray[np.integer], seed: int = 0
    ) -> None:
        self.model, self.cache, self.index, self.seed = model, cache, index, seed
        self.runner = StepRunner(model.pipeline, {}, model.styled, model.model.ford)

    def make(self, number: int) -> Row:
        """Photo ``number``, the same whoever asks.

        Returns:
            ``row``: of the codes, whose photo it was; ``head``: whether the whole head is another
            person's; ``pictures`` (S, S, 3) uint8; ``landmarks`` (478, 3) and ``parsing`` (S, S)
            as FORD reads them.
        """
        rng = np.random.default_rng([self.seed, number, 3])
        row, other = (int(n) for n in rng.choice(len(self.index), 2, replace=False))
        head = bool(rng.random() < _HEADS)
        plan = TAKEN["head" if head else "face"]
        locator = self.model.locator
        target, source = (
            locator.read_crop(np.asarray(self.cache.faces[int(self.index[n])]), "face")
            for n in (row, other)
        )
        settings = StepSettings(seed=int(rng.integers(2**31)), steps=_STEPS)
        photo = self.runner.run([target], {SOURCE: source}, {}, plan, None, settings).photo
        seen = locator.read_crop(photo, "face").representation
        return {
            "row": row,
            "head": head,
            "pictures": photo,
            "landmarks": seen.landmarks[0].float().numpy(),
            "parsing": seen.parsing[0].numpy().astype(np.uint8),
        }


class Strangers:
    """What is stored in a folder of shards, by the photo it was made from.

    Attributes:
        rows: rows of the codes that have such photos, by what was taken, ``(n,)`` each.
    """

    def __init__(self, folder: Path) -> None:
        self.shards = Shards(folder)
        self.places: dict[tuple[str, int], list[int]] = defaultdict(list)
        for number in range(len(self.shards)):
            taken = "head" if self.shards.value("head", number) else "face"
            self.places[taken, int(self.shards.value("row", number))].append(number)
        self.rows: dict[str, NDArray[np.int64]] = {
            taken: np.array(sorted(row for kind, row in self.places if kind == taken), np.int64)
            for taken in TAKEN
        }

    def picture(self, taken: str, row: int, rng: np.random.Generator) -> FacePicture:
        """One of the photos of a row with a stranger's ``taken`` in it."""
        number = int(rng.choice(self.places[taken, row]))
        pixels = self.shards.pictures(number)
        return FacePicture(
            pixels,
            self.shards.value("landmarks", number).astype(np.float64),
            self.shards.value("parsing", number),
            len(pixels),
        )


def main() -> None:
    """Command line."""
    parser = faces_parser(__doc__, codes=True)
    add_shards(parser)
    parser.add_argument("--model")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with np.load(args.codes) as codes:
        index = codes["index"]
    if len(index) < 2:
        parser.error(f"{args.codes} holds {len(index)} face(s); two strangers are needed")
    cache = FaceCache.open(args.cache, args.index)
    maker = StrangerMaker(FaceX.from_pretrained(args.model), cache, index)
    write_shards(args.out, args.first, args.count, maker.make)


if __name__ == "__main__":
    main()
