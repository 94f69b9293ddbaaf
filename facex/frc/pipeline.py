# SPDX-License-Identifier: Apache-2.0
"""The sampling loop: reference and tokens in, edited crop out (DESIGN 6)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from facex.errors import OptionError
from facex.fors.conditioner import Conditioner
from facex.fors.representation_assembler import drop_groups
from facex.frc.anchor import anchor, drawn, known_cells
from facex.frc.base import Base
from facex.frc.condition import EditCondition
from facex.frc.controller import FaceXController
from facex.frc.fusion import edit_cells, fuse
from facex.frc.guidance import Guidance
from facex.frc.harmonizer import Harmonizer
from facex.frc.native import as_it_was, compose, light_goes_on, settle, uncovered
from facex.frc.spatial import SpatialFeatures

StepCallback = Callable[["FaceXPipeline", int, int, dict[str, Tensor]], Any]


class Answer(NamedTuple):
    """A drawn edit in pixels, on the base's device.

    Attributes:
        decoded: ``(B, 3, S, S)``, what is taken of the base's answer.
        redecoded: ``(B, 3, S, S)``, the reference through the autoencoder.
        trust: ``(B, 1, h, w)`` in [0, 1], in the reference's own detail.
        composite: ``(B, 3, S, S)`` in [-1, 1], the corrected reference in its surroundings.
    """

    decoded: Tensor
    redecoded: Tensor
    trust: Tensor
    composite: Tensor


@dataclass(frozen=True)
class PipelineOutput:
    """What the loop returns.

    Attributes:
        images: ``(B, 3, H, W)``, about [-1, 1]; None for ``output_type="latent"``.
        latents: ``(B, C, h, w)``, clean.
        kappa: ``(B, 1, h, w)`` in [0, 1], confidence in the reference at the last step.
        steps: how many steps were done.
    """

    images: Tensor | None
    latents: Tensor
    kappa: Tensor
    steps: int


@dataclass(frozen=True)
class Encoded:
    """A condition in latent space: computed once per edit, not per step.

    Attributes:
        reference: ``(B, C, h, w)``.
        cells: ``(B, 1, h, w)``, how far each cell is known.
        context: f_SD ``(B, N, d)``.
        features: of the spatial path.
    """

    reference: Tensor
    cells: Tensor
    context: Tensor
    features: SpatialFeatures


class FaceXPipeline:
    """Base, controller and conditioner together.

    Args:
        base: the frozen diffusion model.
        controller: FRC, spatial path and anchor.
        conditioner: phi^R, phi^Inp, phi^SD.
        strength: how much noise an edit starts from unless somebody says otherwise.
        harmonizer: the last look at an edit, if the model has one.
        inpainter: the last look at a hole that the photo itself fills, if the model has one.
    """

    def __init__(
        self,
        base: Base,
        controller: FaceXController,
        conditioner: Conditioner,
        strength: float = 1.0,
        harmonizer: Harmonizer | None = None,
        inpainter: Harmonizer | None = None,
    ) -> None:
        self.base, self.controller, self.conditioner = base, controller, conditioner
        self.strength, self.harmonizer, self.inpainter = strength, harmonizer, inpainter
        self._interrupt = False

    @property
    def interrupted(self) -> bool:
        """Whether a callback ended the last call before its time."""
        return self._interrupt

    def encode(self, condition: EditCondition) -> Encoded:
        """Latents, tokens and features of a condition."""
        reference = self.base.encode(condition.reference)
        height, width = reference.shape[-2:]
        cells = known_cells(condition.known, height, width)
        context = self._context(condition, condition.present, reference, cells)
        features = self.controller.spatial(
            reference, condition.known, condition.edit, condition.geometry
        )
        return Encoded(reference, cells, context, features)

    def clean(
        self, encoded: Encoded, context: Tensor, noisy: Tensor, t: Tensor, kappa: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """The anchored clean latent at one noise level; training and sampling both come here.

        Args:
            encoded: the condition.
            context: f_SD, possibly with some groups dropped.
            noisy: ``(B, C, h, w)`` at level ``t``.
            t: ``(B,)`` timesteps.
            kappa: factor on the confidence in the reference.

        Returns:
            Clean latents ``(B, C, h, w)`` and kappa ``(B, 1, h, w)``.
        """
        steered = self.controller(self.base, noisy, t, context, encoded.features)
        trust = encoded.cells * steered.confidence * kappa
        own = drawn(
            self.base.to_clean(steered.output, noisy, t),
            encoded.reference,
            from_reference=self.controller.config["draw_from_reference"],
        )
        return anchor(own, encoded.reference, steered.correction, trust), trust

    @torch.inference_mode()
    def __call__(
        self,
        condition: EditCondition,
        *,
        num_inference_steps: int = 6,
        strength: float | None = None,
        guidance: Guidance | None = None,
        kappa: float = 1.0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        callback_on_step_end: StepCallback | None = None,
        output_type: Literal["pt", "latent"] = "pt",
    ) -> PipelineOutput:
        """Draw a batch of edits.

        Args:
            condition: what steers them.
            num_inference_steps: steps of the schedule.
            strength: 1 starts from noise, less from the noised reference; 0 returns the reference;
                None: the pipeline's own.
            guidance: strengths per factor group.
            kappa: factor on the confidence in the reference; 0: the base draws everything.
            generator: one CPU generator per item, or one for all; the result of an item with its
                own generator does not depend on the batch.
            callback_on_step_end: called as in diffusers; may set ``pipe._interrupt``.
            output_type: ``pt`` decodes, ``latent`` does not.

        Raises:
            OptionError: a number is out of range.
        """
        if num_inference_steps < 1:
            raise OptionError(f"steps must be at least 1, got {num_inference_steps}")
        strength = self.strength if strength is None else strength
        if not (0 <= strength <= 1 and 0 <= kappa <= 1):
            raise OptionError("strength and kappa must be between 0 and 1")
        self._interrupt = False
        condition = condition.to(self.base.device)
        scheduler = self.base.scheduler
        scheduler.set_timesteps(num_inference_steps, device=self.base.device)
        times = remaining_times(scheduler, num_inference_steps, strength)
        with self.controller.attached(self.base.unet), self.controller.cache.enabled():
            encoded = self.encode(condition)
            target = self.base.encode(condition.target)
            if len(times) == 0:
                latents, trust, done = encoded.reference, encoded.cells * kappa, 0
            else:
                latents, trust, done = self._sample(
                    condition, encoded, target, times, guidance or Guidance(), kappa,
                    generator, callback_on_step_end,
                )  # fmt: skip
            cells = edit_cells(condition.edit, *latents.shape[-2:])
            latents = fuse(latents, target, cells)
        images = self.base.decode(latents) if output_type == "pt" else None
        return PipelineOutput(images, latents, trust, done)

    @torch.inference_mode()
    def answer(
        self,
        condition: EditCondition,
        output: PipelineOutput,
        *,
        placed: bool,
        head: Tensor | None = None,
        eyes: Tensor | None = None,
        trusted: float = 1.0,
    ) -> Answer:
        """Decode what was drawn and put it on the reference's own pixels.

        Args:
            condition: of the edit.
            output: of a call with the same condition.
            placed: as for :func:`facex.frc.native.settle`; so are the others.
            head: ``(B,)``.
            eyes: ``(B, 1, S, S)``.
            trusted: 0 to 1.
        """
        decoded = self.base.decode(output.latents)
        condition = condition.to(decoded.device)
        redecoded = self.base.decode(self.base.encode(condition.reference))
        trust = output.kappa.float()
        if self.controller.config["draw_from_reference"]:
            decoded, trust = settle(
                decoded,
                redecoded,
                condition.known,
                condition.geometry,
                condition.edit,
                placed=placed,
                head=head,
                same=as_it_was(condition.reference, condition.target),
                eyes=None if eyes is None else eyes.to(decoded.device),
                trusted=trusted,
            )
        composite = compose(
            condition.reference,
            condition.target,
            condition.known,
            condition.edit,
            decoded,
            redecoded,
            trust,
        )
        return Answer(decoded, redecoded, trust, composite)

    @torch.inference_mode()
    def harmonize(
        self,
        condition: EditCondition,
        composite: Tensor,
        *,
        placed: bool = False,
        head: Tensor | None = None,
        hole: bool = False,
    ) -> Tensor:
        """What makes an edit one picture with its surroundings.

        Args:
            condition: of the edit.
            composite: ``(B, 3, H, W)`` in [-1, 1], of :func:`facex.frc.native.compose`.
            placed: as for :func:`facex.frc.native.settle`; then ground that a head left stays.
            head: likewise.
            hole: the edit fills a hole in a photo with what is the photo's own.

        Returns:
            ``(B, 3, H, W)``, to be added; zeros where the model has no network for it.
        """
        network = self.inpainter if hole and self.inpainter is not None else self.harmonizer
        if network is None:
            return torch.zeros_like(composite)
        device = composite.device
        masks = (condition.known, condition.edit, condition.geometry)
        known, edit, geometry = (mask.to(device) for mask in masks)
        change = network(composite, known, edit, geometry)
        if not placed:
            return change
        change = light_goes_on(change, known, edit, geometry)
        same = as_it_was(condition.reference.to(device), condition.target.to(device))
        return change * (1 - uncovered(known, geometry, head, same))

    def _sample(
        self,
        condition: EditCondition,
        encoded: Encoded,
        target: Tensor,
        times: Tensor,
        guidance: Guidance,
        kappa: float,
        generator: torch.Generator | Sequence[torch.Generator] | None,
        callback: StepCallback | None,
    ) -> tuple[Tensor, Tensor, int]:
        scheduler = self.base.scheduler
        noise = _noise(encoded.reference, generator)
        latents = noise * scheduler.init_noise_sigma
        if len(times) < len(scheduler.timesteps):
            latents = scheduler.add_noise(encoded.reference, noise, times[:1])
        cells = edit_cells(condition.edit, *latents.shape[-2:])
        draws = _step_options(scheduler, generator)
        dropped = {group: self._without(condition, encoded, group) for group in guidance.groups}
        clean, trust, index = encoded.reference, encoded.cells, 0
        for index, t in enumerate(times):
            shown = scheduler.scale_model_input(latents, t)
            when = t.expand(len(latents))
            clean, trust = self.clean(encoded, encoded.context, shown, when, kappa)

            def without(group: str, shown: Tensor = shown, when: Tensor = when) -> Tensor:
                return self.clean(encoded, dropped[group], shown, when, kappa)[0]

            clean = guidance.compose(clean, without)
            output = self.base.from_clean(clean, shown, when)
            latents = scheduler.step(output, t, latents, **draws).prev_sample
            if index + 1 < len(times):
                known = scheduler.add_noise(target, noise, times[index + 1 : index + 2])
                latents = fuse(latents, known, cells)
            if callback is not None:
                callback(self, index, int(t), {"latents": latents, "clean": clean})
                if self._interrupt:
                    break
        # The last step's clean latent itself: the scheduler's arithmetic would round it.
        return clean, trust, index + 1

    def _without(self, condition: EditCondition, encoded: Encoded, group: str) -> Tensor:
        present = drop_groups(condition.present, condition.inputs, [group])
        return self._context(condition, present, encoded.reference, encoded.cells)

    def _context(
        self,
        condition: EditCondition,
        present: Mapping[str, Tensor],
        reference: Tensor,
        cells: Tensor,
    ) -> Tensor:
        edit = F.interpolate(condition.edit, reference.shape[-2:], mode="area")
        stack = torch.cat([reference, cells, edit], 1)
        # Of the base's own type once and for all: the cache knows a context by identity.
        return self.conditioner(condition.inputs, present, stack).to(self.base.unet.dtype)


def remaining_times(scheduler: Any, steps: int, strength: float) -> Tensor:
    """The timesteps of a schedule that are left when it starts from the noised reference.

    Args:
        scheduler: after ``set_timesteps(steps)``.
        steps: that were asked for; a scheduler may evaluate more often.
        strength: 0 to 1, share of the steps that is done.

    Returns:
        Timesteps, none when nothing is left.
    """
    times: Tensor = scheduler.timesteps
    skipped = min(steps, round(steps * (1 - strength)))
    if skipped == 0 or skipped == steps:
        return times[:0] if skipped else times
    if getattr(scheduler, "plms_timesteps", None) is not None:
        # PNDM begins every run with the second time twice; what is left is a run of its own.
        distinct = torch.unique_consecutive(times)[skipped:]
        return torch.cat([distinct[:2], distinct[1:]])
    return times[skipped * getattr(scheduler, "order", 1) :]


def _step_options(
    scheduler: Any, generator: torch.Generator | Sequence[torch.Generator] | None
) -> dict[str, Any]:
    """Stochastic schedulers draw noise in each step: from the edit's own seed, item by item."""
    if generator is None or "generator" not in inspect.signature(scheduler.step).parameters:
        return {}
    return {"generator": list(generator) if isinstance(generator, Sequence) else generator}


def _noise(like: Tensor, generator: torch.Generator | Sequence[torch.Generator] | None) -> Tensor:
    """Unit noise drawn on the CPU, so that a seed gives the same picture on every device."""
    shape = like.shape[1:]
    if isinstance(generator, Sequence):
        if len(generator) != len(like):
            raise OptionError(f"{len(generator)} generators for {len(like)} edits")
        drawn = torch.stack([torch.randn(shape, generator=g) for g in generator])
    else:
        drawn = torch.randn(like.shape, generator=generator)
    return drawn.to(like.device)
