# SPDX-License-Identifier: Apache-2.0
"""Edits of training faces as the harmonizer sees them, made once and kept in shards.

``python -m facex.train.composites --cache DIR --index index.csv --codes codes.npz --teachers DIR
--out DIR --count 4096 [--first N] [--model DIR]``

Two kinds. A *repair* (`facex.train.samples`) has a true answer: damage of a photo, mended by the
generator. An *edit* has none: strangers' faces and heads, turned heads, made by the very code that
users call; it teaches, by a discriminator, what no damage imitates. Several processes may write
into one folder, each from a ``--first`` of its own (`facex.train.shards`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from facex.api import FaceX
from facex.editing import StepRunner, StepSettings
from facex.ford.identity import align_for_identity
from facex.fors.motion import geometry_of, result_geometry
from facex.frc.condition import EditCondition
from facex.frc.pipeline import FaceXPipeline
from facex.locate import LocatedFace
from facex.recipes.plan import Plan, plan_step
from facex.recipes.schema import Step
from facex.recipes.values import DRIVER, SOURCE, TARGET
from facex.train.arguments import add_shards, faces_parser
from facex.train.codes import Codes
from facex.train.facecache import FaceCache
from facex.train.generator import condition_of
from facex.train.make_cache import Teachers
from facex.train.samples import PLACED, PLANS, Sample, SampleMaker
from facex.train.shards import Row, Shards, pack, unpack, write_shards
from facex.train.strangers import TAKEN, Strangers

CHANNELS: Final = {"composite": 3, "truth": 3, "known": 1, "edit": 1, "geometry": 3}
"""Order of the channels of a stored picture; an edit without a true answer has the photo that was
edited in its place."""
_STEPS: Final = 2
"""Of the generator: one answers nearly as many do (``docs/training-log.md``)."""
_EDITS: Final = (
    (TAKEN["face"], SOURCE),
    (TAKEN["head"], SOURCE),
    (plan_step(Step.model_validate({"pose": DRIVER, "edit": ("head",)})), DRIVER),
)
"""A stranger's face, a stranger's head, a head turned like another's; and whose photo that is."""
_SHARES: Final = (0.65, 0.15, 0.2)
_PUT: Final = [share * (name in TAKEN) for name, share, _ in PLANS]
"""Shares of the kinds of damage that put a face or a head into a photo."""


class _Recorder(StepRunner):
    """Runs edits and keeps what the harmonizer would have been shown."""

    seen: tuple[EditCondition, Tensor]

    def _harmonize(
        self,
        pipeline: FaceXPipeline,
        condition: EditCondition,
        composite: Tensor,
        plan: Plan,
        head: Tensor,
    ) -> Tensor:
        self.seen = condition, composite
        return torch.zeros_like(composite)


class CompositeMaker:
    """Makes composites number by number.

    Args:
        model: whose generator's answers they are.
        maker: of damaged references.
        embed: aligned faces ``(B, 3, 112, 112)`` in [0, 1] to identity vectors.
        edits: share of edits without a true answer.
        returned: least share of the repairs that put a face or a head into a photo, back into one
            with a stranger in it for most (`facex.train.strangers`).
        holes: share of the repairs that are brushed holes, for an inpainter.
        seed: of all randomness.
    """

    def __init__(
        self,
        model: FaceX,
        maker: SampleMaker,
        embed: Callable[[Tensor], Tensor],
        edits: float = 0.3,
        returned: float = 0.0,
        holes: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.model, self.maker, self.embed = model, maker, embed
        self.edits, self.returned, self.holes, self.seed = edits, returned, holes, seed
        self.runner = _Recorder(model.pipeline, {}, model.styled, model.model.ford)

    def make(self, number: int) -> Row:
        """Composite ``number``, the same whoever asks.

        Returns:
            ``pictures``: see :data:`CHANNELS`; ``points`` (478, 3): landmarks of the result;
            ``identity`` (512,): embedding of whom it shows; ``repair``: whether there is an answer.
        """
        rng = np.random.default_rng([self.seed, number, 2])
        self.maker.rng = rng
        if rng.random() < self.edits:
            return self._edit(rng)
        if self.holes > 0 and rng.random() < self.holes:
            return self._answered(number, self.maker.hole())
        return self._repair(number, put=self.returned > 0 and rng.random() < self.returned)

    def _identity(self, face: Tensor, points: NDArray[np.floating]) -> Tensor:
        landmarks = torch.from_numpy(np.asarray(points, np.float32))[None]
        return self.embed(align_for_identity(face / 2 + 0.5, landmarks))[0]

    def _repair(self, number: int, *, put: bool) -> Row:
        kinds = np.array(_PUT) / sum(_PUT)
        chosen = int(self.maker.rng.choice(len(kinds), p=kinds)) if put else None
        return self._answered(number, self.maker.sample(kind=chosen))

    def _answered(self, number: int, sample: Sample) -> Row:
        row = sample["row"]
        kind = PLANS[sample["kind"]][0]
        condition = condition_of(default_collate([sample]))
        pipeline = self.model.pipeline
        generator = torch.Generator().manual_seed(number)
        with torch.inference_mode():
            output = pipeline(
                condition, num_inference_steps=_STEPS, generator=generator, output_type="latent"
            )
            whole = pipeline.answer(condition, output, placed=kind in PLACED).composite
            points = self.maker.codes.points(row)
            identity = self._identity(condition.target, points)
        return _row(condition, whole, points, identity, repair=True)

    def _located(self, row: int) -> LocatedFace:
        pixels = np.asarray(self.maker.cache.faces[int(self.maker.arrays["index"][row])])
        return self.model.locator.read_crop(pixels, "face")

    def _edit(self, rng: np.random.Generator) -> Row:
        count = len(self.maker.codes)
        target = self._located(int(rng.integers(count)))
        plan, role = _EDITS[int(rng.choice(len(_EDITS), p=_SHARES))]
        others = {role: self._located(int(rng.integers(count)))}
        settings = StepSettings(seed=int(rng.integers(2**31)), steps=_STEPS)
        self.runner.run([target], others, {}, plan, None, settings)
        condition, whole = self.runner.seen
        located = {TARGET: target, **others}
        shapes = {name: geometry_of(face.representation) for name, face in located.items()}
        points = result_geometry(plan.motion, shapes).landmarks[0].numpy()
        shown = others.get(SOURCE, target)
        with torch.inference_mode():
            identity = self._identity(shown.crop, shown.representation.landmarks[0].numpy())
        return _row(condition, whole, points, identity, repair=False)


def _row(
    condition: EditCondition,
    composite: Tensor,
    points: NDArray[np.floating],
    identity: Tensor,
    *,
    repair: bool,
) -> Row:
    masks = {name: getattr(condition, name)[0] for name in ("known", "edit", "geometry")}
    return {
        "pictures": pack(
            {"composite": composite[0], "truth": condition.target[0], **masks}, CHANNELS
        ),
        "points": points.astype(np.float16),
        "identity": identity.half().numpy(),
        "repair": repair,
    }


class Composites(Shards):
    """The rows of a folder of shards."""

    @property
    def repairs(self) -> NDArray[np.bool_]:
        """Which rows have a true answer, ``(n,)``."""
        return np.asarray(self.values("repair"), bool)

    def batch(self, numbers: NDArray[np.integer]) -> dict[str, Tensor]:
        """Rows as tensors: pictures in [-1, 1], masks in [0, 1]."""
        batch = unpack(np.stack([self.pictures(int(number)) for number in numbers]), CHANNELS)
        for name in ("points", "identity", "repair"):
            batch[name] = torch.from_numpy(self.values(name, numbers))
        batch["points"], batch["identity"] = batch["points"].float(), batch["identity"].float()
        return batch


def main() -> None:
    """Command line."""
    parser = faces_parser(__doc__, codes=True)
    add_shards(parser)
    parser.add_argument("--teachers", required=True, type=Path)
    parser.add_argument("--model")
    parser.add_argument("--strangers", type=Path, help="folder of facex.train.strangers")
    parser.add_argument("--edits", type=float, default=0.3)
    parser.add_argument("--returned", type=float, default=0.0)
    parser.add_argument("--holes", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    strangers = Strangers(args.strangers) if args.strangers else None
    cache, codes = FaceCache.open(args.cache, args.index), Codes.load(args.codes)
    maker = SampleMaker(cache, codes, 0, strangers=strangers)
    embed = Teachers(args.teachers).net("id_edgeface_xs")
    model = FaceX.from_pretrained(args.model)
    composites = CompositeMaker(model, maker, embed, args.edits, args.returned, args.holes)
    write_shards(args.out, args.first, args.count, composites.make)


if __name__ == "__main__":
    main()
