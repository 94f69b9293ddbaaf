# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from facex.imaging.colour import (
    add_grain,
    estimate_grain,
    lab_to_srgb,
    linear_to_srgb,
    match_statistics,
    srgb_to_lab,
    srgb_to_linear,
)


def colours(*batch: int) -> torch.Tensor:
    return torch.rand(*batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_round_trips_and_both_kinds() -> None:
    x = colours(2, 2)
    assert torch.allclose(linear_to_srgb(srgb_to_linear(x)), x, atol=1e-5)
    assert torch.allclose(lab_to_srgb(srgb_to_lab(x)), x, atol=1e-4)
    array = x[0, 0].permute(1, 2, 0).numpy()
    same = srgb_to_lab(x[0, 0]).permute(1, 2, 0).numpy()
    assert np.allclose(srgb_to_lab(array), same)
    assert np.allclose(lab_to_srgb(srgb_to_lab(array)), array, atol=1e-4)


@pytest.mark.parametrize(
    ("srgb", "lab"),
    [
        ((1, 1, 1), (100, 0, 0)), ((0, 0, 0), (0, 0, 0)), ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)), ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((0.5, 0.5, 0.5), (53.39, 0, 0)),
    ],
)  # fmt: skip
def test_lab_of_known_colours(srgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    found = srgb_to_lab(np.array([[srgb]], np.float32))[0, 0]
    assert np.abs(found - lab).max() < 0.05


def test_gradients_are_finite_at_black_and_white() -> None:
    x = torch.tensor([0.0, 1.0]).expand(3, 1, 2).clone().requires_grad_()
    (srgb_to_lab(x).sum() + lab_to_srgb(srgb_to_lab(x)).sum()).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_statistics_move_under_the_mask_with_limits_and_per_picture() -> None:
    source = colours(3) * 0.5 + 0.1
    target = (colours(3) * 0.6 + torch.tensor([0.2, 0.1, 0.0]).view(3, 1, 1)).flip(0)
    ones = torch.ones(3, 1, 32, 32)
    half = ones.clone()
    half[..., :16] = 0
    half[2] = 0
    out = match_statistics(source * 2 - 1, target * 2 - 1, ones, half)
    assert out.shape == source.shape
    assert torch.equal(out[2], source[2] * 2 - 1)  # nothing to measure: unchanged
    moved, goal = srgb_to_lab((out + 1) / 2)[:2], srgb_to_lab(target[:2, :, :, 16:])
    assert (moved.mean((2, 3)) - goal.mean((2, 3))).abs().max() < 1.5
    alone = match_statistics(source[1:2] * 2 - 1, target[1:2] * 2 - 1, ones[:1], half[1:2])
    assert torch.allclose(alone, out[1:2], atol=1e-6)
    white = torch.ones(1, 3, 32, 32)
    black = match_statistics(-white, white, ones[:1], ones[:1])
    lightness = srgb_to_lab((black + 1) / 2)[:, 0].mean()
    assert 40 < lightness < 46
    same = match_statistics(source * 2 - 1, source * 2 - 1, ones, ones)
    assert torch.allclose(same, source * 2 - 1, atol=1e-3)


def test_grain_is_measured_as_it_is_added() -> None:
    y, x = torch.meshgrid(torch.linspace(0, 3, 128), torch.linspace(0, 3, 128), indexing="ij")
    clean = (0.5 * torch.sin(x + y)).expand(2, 3, -1, -1)
    strength = torch.tensor([[0.02, 0.03, 0.04], [0.05, 0.06, 0.01]])
    noisy = add_grain(clean, strength, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(estimate_grain(noisy), strength, rtol=0.08)
    assert estimate_grain(clean).max() < 1e-3
    again = add_grain(clean, strength, generator=torch.Generator().manual_seed(1))
    assert torch.equal(noisy, again)
    left = torch.zeros(2, 1, 128, 128)
    left[..., :64] = 1
    part = add_grain(clean, strength, mask=left, generator=torch.Generator().manual_seed(1))
    assert torch.equal(part[..., 64:], clean[..., 64:])
    assert torch.allclose(estimate_grain(part, left), strength, rtol=0.12)
    assert (estimate_grain(part, 1 - left) < 1e-3).all()
    assert (estimate_grain(noisy, torch.zeros_like(left)) == 0).all()
