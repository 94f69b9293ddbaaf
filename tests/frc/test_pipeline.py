# SPDX-License-Identifier: Apache-2.0
"""Sampling: exact where it must be, repeatable, cancellable, with any scheduler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
)

from facex.errors import OptionError
from facex.fors.representation_assembler import drop_groups
from facex.frc.guidance import Guidance
from facex.frc.pipeline import FaceXPipeline, remaining_times
from tests import tiny
from tests.frc import scenes
from tests.frc.scenes import SCALES

EDIT = (..., slice(4, 12), slice(0, 16))
"""Latent cells that may change."""
KNOWN = (..., slice(4, 12), slice(0, 8))
UNKNOWN = (..., slice(4, 12), slice(8, 16))
OUTSIDE = (..., [*range(4), *range(12, 16)], slice(0, 16))

SCHEDULERS: dict[str, Callable[[], Any]] = {
    "ddim": lambda: DDIMScheduler(**tiny.SCHEDULER, clip_sample=False),
    "dpm": lambda: DPMSolverMultistepScheduler(**vp()),
    "dpm-v": lambda: DPMSolverMultistepScheduler(**vp(), prediction_type="v_prediction"),
    "euler": lambda: EulerDiscreteScheduler(**vp()),
    "euler-x": lambda: EulerDiscreteScheduler(**vp(), prediction_type="sample"),
    "heun": lambda: HeunDiscreteScheduler(**vp()),
    "pndm": lambda: PNDMScheduler(**tiny.SCHEDULER, skip_prk_steps=True),
}


def vp() -> dict[str, Any]:
    return {k: v for k, v in tiny.SCHEDULER.items() if k != "set_alpha_to_one"}


def latents_of(pipe: FaceXPipeline, condition: Any, **options: Any) -> Any:
    options.setdefault("num_inference_steps", 3)
    if "generator" not in options:
        options["generator"] = scenes.seeds(*range(len(condition)))
    return pipe(condition, output_type="latent", **options)


def encoded(pipe: FaceXPipeline, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return pipe.base.encode(images)


@pytest.mark.parametrize("scale", SCALES)
def test_before_training_the_reference_comes_back_exactly_where_it_is_known(scale: str) -> None:
    pipe, condition = scenes.make_pipeline(scale), scenes.make_condition(2)
    reference = encoded(pipe, condition.reference)
    output = latents_of(pipe, condition)
    assert torch.equal(output.latents[KNOWN], reference[KNOWN])
    assert (output.kappa[KNOWN] == 1).all()
    assert (output.kappa[UNKNOWN] == 0).all()
    assert not torch.isclose(output.latents[UNKNOWN], reference[UNKNOWN]).all()
    assert pipe(condition, num_inference_steps=1).images.shape == condition.reference.shape


@pytest.mark.parametrize("scale", SCALES)
def test_with_a_foreign_base_kappa_starts_at_zero_and_the_base_draws(scale: str) -> None:
    pipe, condition = scenes.make_pipeline(scale, "zero"), scenes.make_condition()
    output = latents_of(pipe, condition)
    assert not output.kappa.any()
    # The base alone, given the same tokens, in a plain sampling loop of its own.
    with torch.inference_mode():
        found, base = pipe.encode(condition), pipe.base
        base.scheduler.set_timesteps(1)
        noise = torch.randn(found.reference.shape[1:], generator=torch.Generator().manual_seed(4))
        t = base.scheduler.timesteps[:1]
        own = base.to_clean(base.predict(noise[None], t, found.context), noise[None], t)
    drawn = latents_of(pipe, condition, num_inference_steps=1, generator=scenes.seeds(4)).latents
    assert torch.equal(drawn[KNOWN], own[KNOWN])
    assert torch.equal(drawn[UNKNOWN], own[UNKNOWN])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("strength", [1.0, 0.5, 0.0])
def test_outside_the_edit_the_latent_is_the_targets(scale: str, strength: float) -> None:
    pipe, condition = scenes.make_pipeline(scale, stirred=True), scenes.make_condition(2)
    output = latents_of(pipe, condition, strength=strength, guidance=Guidance(identity=2))
    assert torch.equal(output.latents[OUTSIDE], encoded(pipe, condition.target)[OUTSIDE])


@pytest.mark.parametrize("scale", SCALES)
def test_a_seed_decides_and_no_neighbour_does(scale: str) -> None:
    pipe, condition = scenes.make_pipeline(scale, stirred=True), scenes.make_condition(3)
    together = latents_of(pipe, condition, generator=scenes.seeds(5, 6, 7)).latents
    again = latents_of(pipe, condition, generator=scenes.seeds(5, 6, 7)).latents
    assert torch.equal(together, again)
    for index, seed in enumerate((5, 6, 7)):
        alone = latents_of(pipe, scenes.part(condition, index), generator=scenes.seeds(seed))
        torch.testing.assert_close(alone.latents[0], together[index], atol=1e-5, rtol=1e-5)
    other = latents_of(pipe, condition, generator=scenes.seeds(8, 6, 7)).latents
    assert not torch.isclose(other[0][UNKNOWN], together[0][UNKNOWN]).all()
    torch.testing.assert_close(other[1:], together[1:], atol=1e-5, rtol=1e-5)
    untrained = scenes.make_pipeline(scale)
    one, two = (
        latents_of(untrained, condition, generator=scenes.seeds(*s)).latents
        for s in ((1, 2, 3), (4, 5, 6))
    )
    assert torch.equal(one[KNOWN], two[KNOWN])
    assert not torch.isclose(one[UNKNOWN], two[UNKNOWN]).all()


def test_one_generator_for_all_and_too_few_generators() -> None:
    pipe, condition = scenes.make_pipeline("mini"), scenes.make_condition(2)
    one = latents_of(pipe, condition, generator=torch.Generator().manual_seed(3))
    two = latents_of(pipe, condition, generator=torch.Generator().manual_seed(3))
    assert torch.equal(one.latents, two.latents)
    with pytest.raises(OptionError, match="generators"):
        latents_of(pipe, condition, generator=scenes.seeds(1))


def test_a_callback_can_stop_the_run() -> None:
    pipe, condition = scenes.make_pipeline("mini", stirred=True), scenes.make_condition()
    seen: list[int] = []

    def stop(pipe: FaceXPipeline, step: int, t: int, values: dict[str, torch.Tensor]) -> None:
        seen.append(step)
        assert set(values) == {"latents", "clean"}
        pipe._interrupt = step == 1

    with scenes.counted(pipe.base.unet) as calls:
        output = latents_of(pipe, condition, num_inference_steps=5, callback_on_step_end=stop)
    assert seen == [0, 1]
    assert len(calls) == output.steps == 2
    assert pipe.interrupted
    assert scenes.hooks(pipe.base.unet) == []
    assert latents_of(pipe, condition).steps == 3
    assert not pipe.interrupted


def test_an_error_in_a_callback_leaves_the_base_untouched() -> None:
    pipe, condition = scenes.make_pipeline("mini"), scenes.make_condition()

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        latents_of(pipe, condition, callback_on_step_end=fail)
    assert scenes.hooks(pipe.base.unet) == []
    assert not pipe.controller.cache._entries


@pytest.mark.parametrize(
    ("guidance", "each"), [(Guidance(), 1), (Guidance(motion=2), 2), (Guidance(2, 0, 3), 4)]
)
def test_guidance_of_one_is_a_single_evaluation(guidance: Guidance, each: int) -> None:
    pipe, condition = scenes.make_pipeline("mini", stirred=True), scenes.make_condition()
    keys = [frc.to_k for frc in pipe.controller.frc]
    with scenes.counted(pipe.base.unet) as calls, scenes.counted(*keys) as computed:
        latents_of(pipe, condition, guidance=guidance)
    assert len(calls) == 3 * each
    # Keys and values once per edit and context, not per step.
    assert len(computed) == len(keys) * each


@pytest.mark.parametrize("scale", SCALES)
def test_guidance_composes_predictions_without_each_group(scale: str) -> None:
    pipe, condition = scenes.make_pipeline(scale, "zero", stirred=True), scenes.make_condition()
    output = latents_of(
        pipe, condition, num_inference_steps=1, guidance=Guidance(identity=3.0, region=0.5)
    )
    base = pipe.base
    with torch.inference_mode(), pipe.controller.attached(base.unet):
        found = pipe.encode(condition)
        base.scheduler.set_timesteps(1)
        t = base.scheduler.timesteps
        noise = torch.randn(found.reference.shape[1:], generator=scenes.seeds(0)[0])[None]

        def predicted(*groups: str) -> torch.Tensor:
            present = drop_groups(condition.present, condition.inputs, groups)
            dropped = scenes.part(condition, 0)
            dropped.present.update(present)
            context = pipe.encode(dropped).context
            return pipe.clean(found, context, noise, t)[0]

        full = predicted()
        expected = full + 2.0 * (full - predicted("identity")) - 0.5 * (full - predicted("region"))
    assert (full[UNKNOWN] - expected[UNKNOWN]).abs().max() > 1e-4
    torch.testing.assert_close(output.latents[UNKNOWN], expected[UNKNOWN], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_strength_zero_returns_the_reference_without_one_evaluation(name: str) -> None:
    pipe, condition = scenes.make_pipeline("mini", stirred=True), scenes.make_condition()
    pipe.base.scheduler = SCHEDULERS[name]()
    with scenes.counted(pipe.base.unet) as calls:
        output = latents_of(pipe, condition, strength=0.0)
    assert len(calls) == output.steps == 0
    assert torch.equal(output.latents[EDIT], encoded(pipe, condition.reference)[EDIT])


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize(("scale", "strength"), [("sd15", 1.0), ("mini", 0.6)])
def test_every_scheduler_returns_the_known_reference_before_training(
    name: str, scale: str, strength: float
) -> None:
    pipe, condition = scenes.make_pipeline(scale), scenes.make_condition()
    pipe.base.scheduler = SCHEDULERS[name]()
    output = latents_of(pipe, condition, num_inference_steps=3, strength=strength)
    reference = encoded(pipe, condition.reference)
    assert torch.equal(output.latents[KNOWN], reference[KNOWN])
    assert output.latents.isfinite().all()
    assert torch.equal(output.latents[OUTSIDE], encoded(pipe, condition.target)[OUTSIDE])


@pytest.mark.parametrize("name", [n for n in SCHEDULERS if n != "euler-x"])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_the_noise_shown_to_the_base_is_at_the_level_of_its_timestep(
    name: str, strength: float
) -> None:
    """A base that knew the answer would see each latent as that answer, noised to the level."""
    pipe, condition = scenes.make_pipeline("mini"), scenes.make_condition()
    pipe.base.scheduler = SCHEDULERS[name]()
    condition.known.fill_(1)
    condition.edit.fill_(1)
    reference = encoded(pipe, condition.reference)
    shares: list[float] = []
    predict = pipe.base.predict

    def watch(latents: torch.Tensor, t: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        level = pipe.base.level(t)
        noise = (latents - level.alpha * reference) / level.sigma
        shares.append(float(noise.std()))
        return predict(latents, t, *rest, **named)

    pipe.base.predict = watch  # type: ignore[method-assign]
    latents_of(pipe, condition, num_inference_steps=4, strength=strength)
    assert len(shares) >= 2
    assert all(abs(share - shares[0]) < 0.02 for share in shares), shares


def test_the_rest_of_a_pndm_schedule_is_a_schedule_of_its_own() -> None:
    scheduler = SCHEDULERS["pndm"]()
    scheduler.set_timesteps(5)
    assert remaining_times(scheduler, 5, 1.0).tolist() == scheduler.timesteps.tolist()
    assert remaining_times(scheduler, 5, 0.6).tolist() == [401, 201, 201, 1]
    assert remaining_times(scheduler, 5, 0.2).tolist() == [1]
    assert remaining_times(scheduler, 5, 0.0).tolist() == []


def test_a_factor_on_kappa_hands_over_to_the_base() -> None:
    pipe, condition = scenes.make_pipeline("mini"), scenes.make_condition()
    assert not latents_of(pipe, condition, kappa=0.0).kappa.any()
    half = latents_of(pipe, condition, kappa=0.5).kappa
    assert (half[KNOWN] == 0.5).all()


@pytest.mark.parametrize(
    "options",
    [{"num_inference_steps": 0}, {"strength": 1.5}, {"kappa": -0.1}, {"strength": float("nan")}],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        latents_of(scenes.make_pipeline("mini"), scenes.make_condition(), **options)
