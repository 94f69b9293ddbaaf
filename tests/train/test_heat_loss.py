# SPDX-License-Identifier: Apache-2.0
"""Heat maps that are what training asks for give the places that it asked for."""

from __future__ import annotations

import torch

from facex.ford.heat_maps import SHARPEN, expected_positions
from facex.train.heat_loss import heat_loss, heat_targets

CELLS = (20, 28)


def places() -> torch.Tensor:
    return torch.rand(3, 5, 2, generator=torch.Generator().manual_seed(0)) * 0.9 - 0.45


def test_the_best_heat_maps_have_the_wanted_expected_positions() -> None:
    wanted, inside = heat_targets(places(), CELLS)
    assert inside.all()
    heat = (wanted + 1e-12).log().unflatten(2, CELLS)
    torch.testing.assert_close(expected_positions(heat), places(), atol=1e-5, rtol=0)


def test_descending_the_loss_leads_to_the_places() -> None:
    logits = torch.zeros(3, 5, *CELLS, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.1)
    for _ in range(60):
        optimizer.zero_grad()
        heat_loss(logits * SHARPEN, places()).backward()
        optimizer.step()
    found = expected_positions(logits.detach() * SHARPEN)
    torch.testing.assert_close(found, places(), atol=5e-3, rtol=0)


def test_places_outside_do_not_count() -> None:
    outside = torch.tensor([[[0.6, 0.0], [0.0, 0.0]]])
    assert heat_targets(outside, CELLS)[1].tolist() == [[False, True]]
    assert torch.isfinite(heat_loss(torch.zeros(1, 2, *CELLS), outside))
