# SPDX-License-Identifier: Apache-2.0
"""The model under test, on aligned faces: many different edits as one batch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from facex.api import FaceX
from facex.editing import StepOutcome, StepRunner, StepSettings
from facex.evaluate.faces import FaceSet, Pixels
from facex.evaluate.masks import hole_mask
from facex.evaluate.protocols import Case, Protocol
from facex.evaluate.store import folder_digest
from facex.frc.condition import EditCondition
from facex.imaging.tensors import to_array, to_tensor
from facex.locate import LocatedFace
from facex.models.styles import style_names
from facex.recipes.plan import Plan, plan_recipe
from facex.recipes.values import TARGET
from facex.references import prepare_face
from facex.timing import timed

Floats = NDArray[np.float32]

KEPT_FACES: Final = 512
"""Decomposed faces that stay in memory, about a megabyte each; protocols share most of them."""


@dataclass
class Edited:
    """What the model made of a case.

    Attributes:
        output: ``(S, S, 3)``.
        reference: the bare reference of the first step, of the model's crop size.
        mask: ``(S, S)`` in [0, 1], what may have changed.
        steps: the picture after every step, the last one being the output.
    """

    output: Pixels
    reference: Pixels
    mask: Floats
    steps: list[Pixels] = field(default_factory=list)


class _BatchRunner(StepRunner):
    """Runs one step on faces of different photos, each with a plan of its own."""

    def run_each(
        self,
        targets: Sequence[LocatedFace],
        others: Sequence[Mapping[str, LocatedFace]],
        plans: Sequence[Plan],
        masks: Sequence[Floats | None],
        settings: StepSettings,
    ) -> list[StepOutcome]:
        """The outcome of each; plans must agree in everything that sampling reads."""
        with timed(self.timings, "assemble"):
            rows = zip(targets, others, plans, masks, strict=True)
            prepared = [
                prepare_face(target, given, {}, plan, mask, self.ford, settings.size)
                for target, given, plan, mask in rows
            ]
        drawn = self._generate(prepared, plans[0], settings, None)
        with timed(self.timings, "paste"):
            parts = [slice(i, i + 1) for i in range(len(targets))]
            return [
                self._finish(
                    targets[p],
                    prepared[p],
                    drawn[p],
                    redrawn=plans[0].style is not None,
                )
                for p in parts
            ]


class Editor:
    """Edits the faces of a set by protocol.

    Args:
        model: the model.
        faces: the faces.
        steps: sampling steps; None: the model's own.
        seed: of the noise, the same for every case.
    """

    def __init__(
        self, model: FaceX, faces: FaceSet, *, steps: int | None = None, seed: int = 0
    ) -> None:
        self.model, self.faces = model, faces
        self.settings = StepSettings(seed=seed, steps=steps or model.model.index.steps)
        self.timings: dict[str, float] = {}
        self._runner = _BatchRunner(model.pipeline, self.timings, model.styled, model.model.ford)
        self._known: OrderedDict[str, LocatedFace] = OrderedDict()

    @property
    def fingerprint(self) -> str:
        """Hash of the weights and of what was asked of them, 16 hexadecimal digits."""
        return folder_digest(Path(self.model.model.folder), f"{self.settings}")

    def supports(self, protocol: Protocol) -> bool:
        """Whether the model can do a protocol at all.

        Repairs are damaged as the training of the scale mini does it; styles must be there.
        """
        if protocol.damage is not None:
            return self.model.model.index.scale == "mini"
        wanted = {variant["style"] for variant in protocol.variants if "style" in variant}
        return wanted <= set(style_names(Path(self.model.model.folder)))

    def face(self, name: str) -> LocatedFace:
        """A decomposed face of the set."""
        if name not in self._known:
            self._known[name] = self.decompose(self.faces.image(name), name)
            while len(self._known) > KEPT_FACES:
                self._known.popitem(last=False)
        self._known.move_to_end(name)
        return self._known[name]

    def decompose(self, pixels: Pixels, name: str) -> LocatedFace:
        """Decompose an aligned crop; the crop itself is the photo."""
        return self.model.locator.read_crop(pixels, name)

    def edit(self, protocol: Protocol, cases: Sequence[Case]) -> list[Edited]:
        """Do the cases of one protocol.

        Raises:
            FaceXError: the model cannot do what the protocol asks.
        """
        if protocol.damage is not None:
            return self._repair(protocol, cases)
        plans = [[p for p in plan_recipe(protocol.recipe(case)) if not p.is_identity]
                 for case in cases]  # fmt: skip
        others = [{role: self.face(n) for role, n in case.pictures.items()} for case in cases]
        now = [self.face(case.target) for case in cases]
        masks = [self._mask(protocol, case) for case in cases]
        done = [Edited(face.photo, face.photo, np.zeros(face.photo.shape[:2], np.float32))
                for face in now]  # fmt: skip
        for step in range(max(len(own) for own in plans)):
            busy = [i for i in range(len(cases)) if step < len(plans[i])]
            for group in self._alike(busy, [plans[i][step] for i in busy]):
                outcomes = self._runner.run_each(
                    [now[i] for i in group],
                    [others[i] for i in group],
                    [plans[i][step] for i in group],
                    [masks[i] for i in group],
                    self.settings,
                )
                for i, outcome in zip(group, outcomes, strict=True):
                    item = done[i]
                    item.steps.append(outcome.photo)
                    item.output = outcome.photo
                    item.mask = np.maximum(item.mask, outcome.mask)
                    if step == 0:
                        item.reference = outcome.references[0]
                    if step + 1 < len(plans[i]):
                        now[i] = self.decompose(outcome.photo, cases[i].target)
        return done

    @staticmethod
    def _alike(indices: Sequence[int], plans: Sequence[Plan]) -> list[list[int]]:
        """Put those together whose plans sample alike."""

        def key(item: tuple[int, Plan]) -> str:
            plan = item[1]
            numbers = (plan.kappa, plan.strength, plan.seed, plan.steps)
            return f"{plan.style},{plan.guidance},{numbers}"

        pairs = sorted(zip(indices, plans, strict=True), key=key)
        return [[i for i, _ in group] for _, group in groupby(pairs, key)]

    def _mask(self, protocol: Protocol, case: Case) -> Floats | None:
        if protocol.hole is None:
            return None
        return hole_mask(protocol.hole, self.faces.side, case.seed).astype(np.float32)

    @torch.inference_mode()
    def roundtrip(self, pixels: Pixels) -> Pixels:
        """A picture through the autoencoder."""
        base = self.model.pipeline.base
        return to_array(base.decode(base.encode(to_tensor(pixels).to(base.device))))

    def _repair(self, protocol: Protocol, cases: Sequence[Case]) -> list[Edited]:
        from facex.train.samples import PLACED

        conditions = [self._damaged(str(protocol.damage), case) for case in cases]
        condition = EditCondition.cat(conditions)
        count = len(cases)
        seeds = [torch.Generator().manual_seed(self.settings.seed) for _ in range(count)]
        pipeline = self.model.pipeline
        output = pipeline(
            condition,
            num_inference_steps=self.settings.steps,
            generator=seeds,
            output_type="latent",
        )
        placed = protocol.damage in PLACED
        composite = pipeline.answer(condition, output, placed=placed).composite
        final = (composite + pipeline.harmonize(condition, composite, placed=placed)).cpu()
        return [
            Edited(
                output=to_array(final[i]),
                reference=to_array(condition.reference[i]),
                mask=condition.edit[i, 0].numpy().astype(np.float32),
                steps=[to_array(final[i])],
            )
            for i in range(count)
        ]

    def _damaged(self, kind: str, case: Case) -> EditCondition:
        """The training's own damage (``train.samples``) on a face that was never trained on."""
        from facex.train.samples import KINDS, SampleMaker

        names = self._neighbours(case)
        located = [self.face(name) for name in names]
        codes = _codes_of(located)
        cache: Any = _Pictures([face.pixels(face.representation.crop_size) for face in located])
        maker = SampleMaker(cache, codes, case.seed, lamps=False)
        sample = maker.sample(0, KINDS.index(kind))
        images = {
            name: sample[name][None]
            for name in ("reference", "known", "edit", "geometry", "target")
        }
        return EditCondition(
            inputs={name: value[None] for name, value in sample["inputs"].items()},
            present={name: torch.tensor([flag]) for name, flag in sample["present"].items()},
            **images,
        )

    def _neighbours(self, case: Case) -> list[str]:
        """The face itself, then a few others that lend their mesh, by the case's number."""
        names = self.faces.names
        start = case.seed % len(names)
        others = [names[(start + k) % len(names)] for k in range(4)]
        return [case.target, *(name for name in others if name != case.target)]


@dataclass(frozen=True)
class _Pictures:
    """What ``SampleMaker`` needs of a cache of faces."""

    faces: Sequence[Pixels]


def _codes_of(located: Sequence[LocatedFace]) -> Any:
    from facex.ford.representation import FaceRepresentation
    from facex.train.codes import Codes

    rep = FaceRepresentation.cat([face.representation for face in located])
    names = (
        "identity_tokens", "identity", "region_features", "region_present", "parsing", "landmarks",
        "shape", "expression", "rotation", "scale", "translation", "residual", "gaze", "texture",
        "light",
    )  # fmt: skip
    arrays = {name: getattr(rep, name).cpu().numpy() for name in names}
    return Codes({"index": np.arange(len(located)), **arrays})


def owners(plans: Sequence[Plan]) -> dict[str, str]:
    """The picture that each factor of the result comes from, after all steps."""
    owner: dict[str, str] = {}
    for plan in plans:
        for factor, origin in plan.factors.items():
            if origin != TARGET:
                owner[factor.value] = origin
    return owner
