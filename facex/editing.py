# SPDX-License-Identifier: Apache-2.0
"""One step of a recipe on the faces of one photo: plan, assemble, steer, paste back (DESIGN 1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facex.beyond import clear_beyond
from facex.errors import Interrupted
from facex.ford.decompose import FORD
from facex.ford.representation import FaceRepresentation
from facex.framing import CROP
from facex.frc.condition import EditCondition
from facex.frc.guidance import Guidance
from facex.frc.native import correct_native, enlarge
from facex.frc.pipeline import FaceXPipeline, StepCallback
from facex.ground import draw_ground
from facex.imaging.detail import enlarge_along
from facex.imaging.paste import paste_back
from facex.imaging.read import Photo
from facex.locate import LocatedFace
from facex.models.styles import StyledPipelines
from facex.recipes.plan import Plan
from facex.recipes.schema import Recipe
from facex.recipes.values import NONE, TARGET
from facex.references import PreparedFace, prepare_face
from facex.timing import timed
from facex.types import REGIONS, Region

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
StepProgress = Callable[[int, int, str], None]

_INTO_GROUND: Final = 0.12
"""Width, as a share of the side, over which a face drawn by a style goes over into its ground."""


@dataclass(frozen=True)
class StepSettings:
    """Numbers of one run that a recipe may leave open.

    Attributes:
        seed: of the noise.
        steps: sampling steps.
        strength: 0 to 1, how much noise the reference starts from; None: the generator's own.
        kappa: 0 to 1, factor on the confidence in the reference.
        size: largest native side of a face, or None for the photo's own.
    """

    seed: int = 0
    steps: int = 6
    strength: float | None = None
    kappa: float = 1.0
    size: int | None = None


@dataclass(frozen=True)
class PreparedEdit:
    """A recipe with everything that it takes from other pictures, ready for many targets.

    Attributes:
        recipe: the edit.
        plans: its steps, resolved.
        others: decomposed faces by the names that the recipe uses.
        things: pictures that show no face, by name.
    """

    recipe: Recipe
    plans: tuple[Plan, ...]
    others: Mapping[str, LocatedFace]
    things: Mapping[str, Photo]


@dataclass
class StepOutcome:
    """What one step did to a photo.

    Attributes:
        photo: the new pixels.
        mask: ``(H, W)`` in [0, 1], what may have changed.
        references: the reference of each face, uint8.
        outputs: the model's answer of each face, uint8.
        faces: the representations that were used, per face.
    """

    photo: Pixels
    mask: Floats
    references: list[Pixels] = field(default_factory=list)
    outputs: list[Pixels] = field(default_factory=list)
    faces: list[FaceRepresentation] = field(default_factory=list)


@dataclass(frozen=True)
class _Drawn:
    """What the model made of a batch, ``(B, C, S, S)`` each, on the CPU."""

    decoded: Tensor
    redecoded: Tensor
    trust: Tensor
    change: Tensor
    """What the harmonizer adds to the corrected reference."""

    def __getitem__(self, part: slice) -> _Drawn:
        return _Drawn(self.decoded[part], self.redecoded[part], self.trust[part], self.change[part])

    def in_frame(self, item: PreparedFace) -> _Drawn:
        """With the room around the crop, in which the reference stays as it is."""
        if item.framing == CROP:
            return self
        put = item.framing.put_around
        before = put(self.redecoded, _tensor(item.whole.image))
        decoded = before + put(self.decoded - self.redecoded)
        return _Drawn(decoded, before, 1 - put(1 - self.trust), put(self.change))


class StepRunner:
    """Runs the steps of recipes.

    Args:
        pipeline: the generator.
        timings: gets the seconds of each stage.
        styled: gives the generator with the personalised base of a name.
        ford: reads where placed eyes look, and knows the albedo that its codes stand for.
    """

    def __init__(
        self,
        pipeline: FaceXPipeline,
        timings: dict[str, float],
        styled: StyledPipelines,
        ford: FORD,
    ) -> None:
        self.pipeline, self.timings, self.styled = pipeline, timings, styled
        self.ford = ford

    def run(
        self,
        targets: Sequence[LocatedFace],
        others: Mapping[str, LocatedFace],
        things: Mapping[str, Photo],
        plan: Plan,
        mask: Floats | None,
        settings: StepSettings,
        progress: StepProgress | None = None,
    ) -> StepOutcome:
        """Edit all ``targets`` of one photo as one batch.

        Args:
            targets: faces of the same photo.
            others: decomposed pictures by name.
            things: pictures that are no faces, by name.
            plan: the resolved step.
            mask: ``(H, W)`` in [0, 1] over the photo when the plan edits by mask.
            settings: seed, steps and strengths.
            progress: called with (done, total, what).

        Raises:
            OptionError: a mask is missing or covers nothing of the face.
            ModelNotFound: the style is not in the model.
        """
        pipeline = self._pipeline(plan)
        with timed(self.timings, "assemble"):
            prepared = [
                prepare_face(target, others, things, plan, mask, self.ford, settings.size)
                for target in targets
            ]
        drawn = self._generate(prepared, plan, settings, progress)
        ground = None
        if plan.style is not None and not plan.by_mask and plan.edit == frozenset(REGIONS):
            with timed(self.timings, "generate"):
                ground = self._ground(pipeline, targets, plan, settings, progress)
        with timed(self.timings, "paste"):
            limit = mask if plan.by_mask else None
            redrawn = plan.style is not None
            outcome = self._finish(targets, prepared, drawn, limit, ground, redrawn=redrawn)
            if plan.pixels[Region.HAIR] not in (TARGET, NONE) and not plan.by_mask:
                parser, hat = self.ford.provider("parsing"), plan.pixels[Region.HAT] != TARGET
                for face in targets:
                    outcome.photo, outcome.mask = clear_beyond(
                        outcome.photo, outcome.mask, face, parser, hat=hat
                    )
            return outcome

    def _pipeline(self, plan: Plan) -> FaceXPipeline:
        return self.pipeline if plan.style is None else self.styled(plan.style)

    def _ground(
        self,
        pipeline: FaceXPipeline,
        targets: Sequence[LocatedFace],
        plan: Plan,
        settings: StepSettings,
        progress: StepProgress | None,
    ) -> Pixels:
        """The photo around the faces, drawn at the scale of the largest."""
        side = targets[0].representation.crop_size
        steps = plan.steps or settings.steps

        def report(batch: int, batches: int) -> StepCallback:
            def said(pipe: FaceXPipeline, step: int, t: int, values: dict[str, Tensor]) -> dict:
                if progress is not None:
                    progress(batch * steps + step + 1, batches * steps, "drawing the ground")
                return values

            return said

        return draw_ground(
            targets[0].photo,
            pipeline,
            side,
            side / max(target.native_size for target in targets),
            steps=steps,
            seed=settings.seed if plan.seed is None else plan.seed,
            strength=settings.strength if plan.strength is None else plan.strength,
            kappa=plan.kappa * settings.kappa,
            callback=report,
        )

    def _generate(
        self,
        prepared: Sequence[PreparedFace],
        plan: Plan,
        settings: StepSettings,
        progress: StepProgress | None,
    ) -> _Drawn:
        pipeline = self._pipeline(plan)
        condition = EditCondition.cat([item.condition for item in prepared])
        total = plan.steps or settings.steps

        def report(pipe: FaceXPipeline, step: int, t: int, values: dict[str, Tensor]) -> dict:
            if progress is not None:
                progress(step + 1, total, "drawing")
            return values

        wanted = plan.guidance
        seed = settings.seed if plan.seed is None else plan.seed
        with timed(self.timings, "generate"):
            output = pipeline(
                condition,
                num_inference_steps=total,
                strength=settings.strength if plan.strength is None else plan.strength,
                guidance=Guidance(
                    identity=1.0 if wanted.identity is None else wanted.identity,
                    motion=1.0 if wanted.motion is None else wanted.motion,
                    region=1.0 if wanted.region is None else wanted.region,
                ),
                kappa=plan.kappa * settings.kappa,
                generator=[torch.Generator().manual_seed(seed) for _ in prepared],
                callback_on_step_end=report,
                output_type="latent",
            )
        if pipeline.interrupted:
            raise Interrupted("the edit was stopped; nothing was written")
        with timed(self.timings, "decode"):
            eyes = torch.cat([item.eyes for item in prepared])
            head = torch.tensor([item.head for item in prepared])
            trusted = plan.kappa * settings.kappa
            answer = pipeline.answer(
                condition, output, placed=plan.is_placed, head=head, eyes=eyes, trusted=trusted
            )
        with timed(self.timings, "harmonize"):
            change = self._harmonize(pipeline, condition, answer.composite, plan, head)
            if plan.motion.turns_eyes:
                # It has learned eyes that look ahead, and turns others back a little.
                change = change * (1 - eyes.to(change))
        return _Drawn(
            answer.decoded.cpu(), answer.redecoded.cpu(), answer.trust.cpu(), change.cpu()
        )

    def _harmonize(
        self,
        pipeline: FaceXPipeline,
        condition: EditCondition,
        composite: Tensor,
        plan: Plan,
        head: Tensor,
    ) -> Tensor:
        return pipeline.harmonize(
            condition, composite, placed=plan.is_placed, head=head, hole=plan.fills_a_hole
        )

    def _finish(
        self,
        targets: Sequence[LocatedFace],
        prepared: Sequence[PreparedFace],
        drawn: _Drawn,
        limit: Floats | None = None,
        ground: Pixels | None = None,
        *,
        redrawn: bool = False,
    ) -> StepOutcome:
        photo = targets[0].photo
        outcome = StepOutcome(photo, np.zeros(photo.shape[:2], np.float32))
        if ground is not None:
            outcome = StepOutcome(ground, np.ones(photo.shape[:2], np.float32))
        for index, item in enumerate(prepared):
            native, own = item.native, drawn[index : index + 1]
            size = len(native.image)
            framed = own.in_frame(item)
            final = correct_native(
                _tensor(native.image),
                torch.from_numpy(native.known)[None, None],
                framed.decoded,
                framed.redecoded,
                framed.trust,
            )
            picture = _picture(final + enlarge(framed.change, final.shape[-2:]))
            if redrawn:
                small = item.reference.image
                picture = enlarge_along(_picture(own.decoded), small, native.image)
            outcome.photo, applied = paste_back(
                outcome.photo,
                picture,
                native.edit,
                item.framing.frame(item.face, size),
                feather_radius=max(1.0, size * (0.008 if ground is None else _INTO_GROUND)),
            )
            if limit is not None:
                # Resampling a mask spreads it by a pixel; the user drew a border, so it holds.
                applied = np.where(limit > 0, applied, np.float32(0))
                outcome.photo = np.where((limit > 0)[..., None], outcome.photo, photo)
            outcome.mask = np.maximum(outcome.mask, applied)
            outcome.references.append(_bytes(item.reference.image))
            outcome.outputs.append(_bytes((own.decoded[0].permute(1, 2, 0).numpy() + 1) / 2))
            outcome.faces.append(item.face.representation)
        return outcome


def _tensor(image: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None] * 2 - 1


def _picture(image: Tensor) -> Floats:
    return np.asarray(image[0].permute(1, 2, 0).clamp(-1, 1).numpy() / 2 + 0.5, np.float32)


def _bytes(image: NDArray[np.floating]) -> Pixels:
    return np.clip(np.asarray(image) * 255 + 0.5, 0, 255).astype(np.uint8)
