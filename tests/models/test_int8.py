# SPDX-License-Identifier: Apache-2.0
"""Weights in eight bits: nearly the same numbers, the same network, errors in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facex.errors import WeightsCorrupt
from facex.ford.gaze import GazeNet
from facex.models.int8 import WEIGHTS_INT8, load_state, pack, save_int8, unpack
from facex.models.mini_ford import load_network


def test_rounding_is_within_half_a_step_of_each_row() -> None:
    torch.manual_seed(0)
    state = {
        "large": torch.randn(64, 40) * torch.logspace(-6, 2, 64)[:, None],
        "filters": torch.randn(32, 16, 3, 3),
        "zero": torch.zeros(64, 64),
        "bias": torch.randn(64),
        "count": torch.tensor(7),
    }
    packed = pack(state)
    assert {n for n, v in packed.items() if v.dtype == torch.int8} == {"large", "filters", "zero"}
    back = unpack(packed)
    assert back.keys() == state.keys()
    for name in ("large", "filters", "zero"):
        step = state[name].flatten(1).abs().amax(1) / 127
        error = (back[name] - state[name]).flatten(1).abs().amax(1)
        assert (error <= step / 2 + 1e-9).all(), name
    assert torch.equal(back["bias"], state["bias"])
    assert back["count"] == 7


def test_a_network_comes_back_from_its_folder(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = GazeNet().eval()
    save_int8(net, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", WEIGHTS_INT8}
    again = load_network(GazeNet, tmp_path)
    patches, angles = torch.randn(3, 2, 3, 32, 48), torch.randn(3, 3)
    with torch.no_grad():
        want, got = net(patches, angles), again(patches, angles)
    assert (want - got).norm() < 0.05 * want.norm()
    assert load_state(tmp_path).keys() == net.state_dict().keys()
    small = (tmp_path / WEIGHTS_INT8).stat().st_size
    assert small < 1.2 * sum(p.numel() for p in net.parameters())


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    save_int8(GazeNet(), tmp_path)
    path = tmp_path / WEIGHTS_INT8
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(WeightsCorrupt, match="cannot be read"):
        load_network(GazeNet, tmp_path)
