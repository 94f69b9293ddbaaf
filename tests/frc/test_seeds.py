# SPDX-License-Identifier: Apache-2.0
"""The seed decides with stochastic schedulers too, and mixed precision keeps the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    LCMScheduler,
)

from tests import tiny
from tests.frc import scenes

PLAIN = {name: value for name, value in tiny.SCHEDULER.items() if name != "set_alpha_to_one"}

STOCHASTIC: dict[str, Callable[[], Any]] = {
    "ddpm": lambda: DDPMScheduler(**PLAIN),
    "dpm-sde": lambda: DPMSolverMultistepScheduler(**PLAIN, algorithm_type="sde-dpmsolver++"),
    "euler-ancestral": lambda: EulerAncestralDiscreteScheduler(**PLAIN),
    "lcm": lambda: LCMScheduler(**tiny.SCHEDULER),
}


@pytest.mark.parametrize("name", STOCHASTIC)
def test_noise_of_the_steps_comes_from_the_items_own_seed(name: str) -> None:
    pipe, condition = scenes.make_pipeline("sd15", stirred=True), scenes.make_condition(2)
    pipe.base.scheduler = STOCHASTIC[name]()

    def draw(condition: Any, *numbers: int) -> torch.Tensor:
        torch.rand(1)  # the global state moves on and must not matter
        return pipe(
            condition,
            num_inference_steps=3,
            output_type="latent",
            generator=scenes.seeds(*numbers),
        ).latents

    together = draw(condition, 5, 6)
    assert torch.equal(draw(condition, 5, 6), together)
    assert not torch.isclose(draw(condition, 5, 7)[1], together[1]).all()
    for index, seed in enumerate((5, 6)):
        alone = draw(scenes.part(condition, index), seed)
        torch.testing.assert_close(alone[0], together[index], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("mixed", ["autocast", "bfloat16 base"])
def test_mixed_precision_computes_keys_and_values_once(mixed: str) -> None:
    pipe, condition = scenes.make_pipeline("mini", stirred=True), scenes.make_condition()
    keys = [frc.to_k for frc in pipe.controller.frc]
    if mixed != "autocast":
        pipe.base.unet.to(torch.bfloat16)
        pipe.controller.to(torch.bfloat16)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=mixed == "autocast")
    with autocast, scenes.counted(*keys) as calls:
        output = pipe(condition, num_inference_steps=3, generator=scenes.seeds(0))
    assert len(calls) == len(keys)
    assert output.images is not None
    assert output.images.dtype == torch.float32
    assert output.images.isfinite().all()
