# SPDX-License-Identifier: Apache-2.0
"""Anchored prediction, masked fusion and guidance as formulas."""

from __future__ import annotations

import pytest
import torch

from facex.errors import OptionError
from facex.frc.anchor import AnchorHead, anchor, clamp_unit, drawn, known_cells
from facex.frc.fusion import edit_cells, fuse
from facex.frc.guidance import Guidance


def test_known_cells_are_one_only_where_every_pixel_is_known() -> None:
    known = torch.zeros(1, 1, 32, 32)
    known[..., :16] = 1
    known[..., 5, 2] = 0
    cells = known_cells(known, 4, 4)
    assert (cells[..., 2:] == 0).all()
    assert (cells[..., 1] == 1).all()
    assert 0.9 < cells[0, 0, 0, 0] < 1
    half = torch.zeros(1, 1, 8, 8)
    half[..., :4] = 1
    assert known_cells(half, 1, 1).item() < 0.1


def test_anchor_is_exact_at_both_ends_and_linear_between() -> None:
    base, reference, correction = (torch.randn(1, 4, 3, 3) for _ in range(3))
    kappa = torch.tensor([0.0, 0.25, 1.0]).expand(1, 1, 3, 3)
    found = anchor(base, reference, correction, kappa)
    assert torch.equal(found[..., 0], base[..., 0])
    assert torch.equal(found[..., 2], (reference + correction)[..., 2])
    torch.testing.assert_close(
        found[..., 1], (0.75 * base + 0.25 * (reference + correction))[..., 1]
    )
    assert torch.equal(drawn(base, reference, from_reference=False), base)
    assert torch.equal(drawn(base, reference, from_reference=True), base + reference)


def test_a_confidence_at_its_bound_can_still_be_moved_inwards() -> None:
    x = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5], requires_grad=True)
    assert clamp_unit(x).tolist() == [0, 0, 0.5, 1, 1]
    clamp_unit(x).sum().backward()  # descent lowers: blocked only below
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 1, 1, 1]
    x.grad = None
    (-clamp_unit(x).sum()).backward()  # descent raises: blocked only above
    assert x.grad.tolist() == [-1, -1, -1, 0, 0]


@pytest.mark.parametrize(("init", "start"), [("known", 1.0), ("zero", 0.0)])
def test_head_starts_where_it_is_told_and_unfolds(init: str, start: float) -> None:
    head = AnchorHead(8, 16, latent_channels=3, fold=2, init=init)  # type: ignore[arg-type]
    correction, confidence = head(torch.randn(2, 8, 4, 4), torch.randn(2, 16, 4, 4))
    assert correction.shape == (2, 3, 8, 8)
    assert confidence.shape == (2, 1, 8, 8)
    assert not correction.any()
    assert (confidence == start).all()


def test_a_cell_may_change_as_soon_as_one_of_its_pixels_may() -> None:
    edit = torch.zeros(1, 1, 32, 32)
    edit[..., 9, 17] = 0.01
    cells = edit_cells(edit, 4, 4)
    assert cells.sum() == 1
    assert cells[0, 0, 1, 2] == 1
    latents, target = torch.randn(1, 4, 4, 4), torch.randn(1, 4, 4, 4)
    fused = fuse(latents, target, cells)
    assert torch.equal(fused[..., 1, 2], latents[..., 1, 2])
    fused[..., 1, 2] = target[..., 1, 2]
    assert torch.equal(fused, target)


def test_guidance_is_the_sum_over_groups_and_one_costs_nothing() -> None:
    full = torch.randn(2, 4, 3, 3)
    others = {name: torch.randn_like(full) for name in ("identity", "motion", "region")}
    asked: list[str] = []

    def without(group: str) -> torch.Tensor:
        asked.append(group)
        return others[group]

    assert torch.equal(Guidance().compose(full, without), full)
    assert asked == []
    found = Guidance(identity=3.0, region=0.0).compose(full, without)
    assert asked == ["identity", "region"]
    expected = full + 2 * (full - others["identity"]) - (full - others["region"])
    torch.testing.assert_close(found, expected)
    with pytest.raises(OptionError, match="motion"):
        Guidance(motion=-1)
