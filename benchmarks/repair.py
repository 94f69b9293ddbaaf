# SPDX-License-Identifier: Apache-2.0
"""How much the generator improves damaged references of people it has never seen.

``python benchmarks/repair.py --cache DIR --index index.csv --codes dev.npz --teachers DIR``

Samples are made as in training (``facex.train.samples``), from dev faces. Printed per kind of
damage: LPIPS against the true photo of the bare reference and of the picture that a user would get,
and the ratio.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from facex.frc.condition import EditCondition
from facex.frc.pipeline import FaceXPipeline, PipelineOutput
from facex.models.folder import load_model
from facex.models.hub import resolve_model_folder
from facex.train.arguments import faces_parser
from facex.train.codes import Codes
from facex.train.facecache import FaceCache
from facex.train.generator import condition_of
from facex.train.make_cache import Teachers
from facex.train.samples import PLACED, PLANS, SampleMaker
from facex.train.sheet import write_sheet


def main() -> None:
    parser = faces_parser(__doc__, codes=True)
    parser.add_argument("--teachers", required=True, type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--steps", type=int, nargs="+", default=[6])
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    model = load_model(resolve_model_folder(args.model), torch.device("cpu"), torch.float32)
    pipeline = model.pipeline()
    lpips = Teachers(args.teachers).net("lpips_squeeze")
    maker = SampleMaker(
        FaceCache.open(args.cache, args.index), Codes.load(args.codes), 0, lamps=False
    )
    bare: dict[str, list[float]] = defaultdict(list)
    answer: dict[tuple[str, int], list[float]] = defaultdict(list)
    shown = []
    for number in range(args.count):
        maker.rng = np.random.default_rng([7, number])
        kind = number % len(PLANS)
        batch = default_collate([maker.sample(row=number % len(maker.codes), kind=kind)])
        name = PLANS[kind][0]
        condition = condition_of(batch)
        true = batch["target"] / 2 + 0.5
        with torch.inference_mode():
            bare[name].append(float(lpips(batch["reference"] / 2 + 0.5, true)))
            for steps in args.steps:
                generator = torch.Generator().manual_seed(number)
                output = pipeline(
                    condition, num_inference_steps=steps, generator=generator, output_type="latent"
                )
                out = as_shown(pipeline, condition, output, placed=name in PLACED)
                answer[name, steps].append(float(lpips(out / 2 + 0.5, true)))
        if number < 16:
            shown.append([batch["reference"], out, batch["target"]])
    for name in bare:
        first = float(np.mean(bare[name]))
        for steps in args.steps:
            mean = float(np.mean(answer[name, steps]))
            report(name, steps, first, mean)
    everything = float(np.mean([v for values in bare.values() for v in values]))
    for steps in args.steps:
        mean = float(np.mean([v for (_, s), vs in answer.items() if s == steps for v in vs]))
        report("all", steps, everything, mean)
    if args.sheet:
        write_sheet([torch.cat([row[i] for row in shown]) for i in range(3)], args.sheet)


def as_shown(
    pipeline: FaceXPipeline, condition: EditCondition, output: PipelineOutput, *, placed: bool
) -> Tensor:
    """What a user gets: the model's change on the reference's own pixels, the photo around it."""
    composite = pipeline.answer(condition, output, placed=placed).composite
    return (composite + pipeline.harmonize(condition, composite, placed=placed)).clamp(-1, 1)


def report(name: str, steps: int, bare: float, answer: float) -> None:
    share = answer / bare
    print(f"{name:5s} steps {steps:2d}  bare {bare:.4f}  answer {answer:.4f}  {share:.2f} x")


if __name__ == "__main__":
    main()
