# SPDX-License-Identifier: Apache-2.0
"""The base seen from outside: folding, noise levels, prediction types."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from facex.errors import OptionError
from facex.frc.base import PREDICTION_TYPES, Base
from tests import tiny
from tests.frc import scenes


def test_the_two_scales_differ_in_numbers_only() -> None:
    mini, sd15 = scenes.make_base("mini"), scenes.make_base("sd15")
    assert (mini.fold, mini.latent_channels, mini.context_dim, mini.downscale) == (2, 8, 32, 8)
    assert (sd15.fold, sd15.latent_channels, sd15.context_dim, sd15.downscale) == (1, 4, 32, 8)
    for base in (mini, sd15):
        images = torch.rand(2, 3, 64, 64) * 2 - 1
        with torch.no_grad():
            latents = base.encode(images)
            assert latents.shape == (2, base.latent_channels, 8, 8)
            assert latents.dtype == torch.float32
            assert base.decode(latents).shape == images.shape
            output = base.predict(latents, torch.tensor([3, 900]), torch.zeros(2, 5, 32))
        assert output.shape == latents.shape
        assert torch.equal(base.unfold_latents(base.fold_latents(latents)), latents)


def test_scaling_of_the_autoencoder_is_undone() -> None:
    base = scenes.make_base("sd15")
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        raw = base.vae.encode(images).latent_dist.mode()
        near = {"atol": 1e-4, "rtol": 1e-3}  # a second pass may take another kernel
        torch.testing.assert_close(base.encode(images), raw * 0.18215, **near)
        torch.testing.assert_close(base.decode(raw * 0.18215), base.vae.decode(raw).sample, **near)


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_clean_and_prediction_are_inverse(kind: str) -> None:
    base = scenes.make_base("sd15")
    base.scheduler = DDIMScheduler(**tiny.SCHEDULER, prediction_type=kind)
    t = torch.tensor([20, 400, 950])
    clean, noise = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8)
    noisy = base.level(t).mix(clean, noise)
    torch.testing.assert_close(noisy, base.scheduler.add_noise(clean, noise, t))
    output = base.from_clean(clean, noisy, t)
    torch.testing.assert_close(base.to_clean(output, noisy, t), clean, atol=1e-4, rtol=1e-4)
    velocity = base.scheduler.get_velocity(clean, noise, t)
    expected = {"epsilon": noise, "sample": clean, "v_prediction": velocity}[kind]
    torch.testing.assert_close(output, expected, atol=1e-3, rtol=1e-3)


def test_levels_between_timesteps_are_those_of_the_scheduler() -> None:
    base = scenes.make_base("sd15")
    options = {k: v for k, v in tiny.SCHEDULER.items() if k != "set_alpha_to_one"}
    base.scheduler = EulerDiscreteScheduler(**options, timestep_spacing="linspace")
    base.scheduler.set_timesteps(6)
    times, sigmas = base.scheduler.timesteps, base.scheduler.sigmas[:-1]
    assert (times.frac() > 0).any()
    level = base.level(times)
    torch.testing.assert_close((level.sigma / level.alpha).flatten(), sigmas, rtol=1e-4, atol=1e-4)
    whole = torch.tensor([0, 10, 999])
    assert torch.equal(base.level(whole).alpha, base.level(whole.float()).alpha)


def test_parts_that_do_not_belong_together_are_refused() -> None:
    mini, sd15 = scenes.make_base("mini"), scenes.make_base("sd15")
    with pytest.raises(OptionError, match="do not belong together"):
        Base(sd15.unet, mini.vae, sd15.scheduler)
    with pytest.raises(OptionError, match="alphas_cumprod"):
        Base(sd15.unet, sd15.vae, FlowMatchEulerDiscreteScheduler())
