# SPDX-License-Identifier: Apache-2.0
"""Conversion of public checkpoints: what is accepted, what is refused, what is left behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from facex.errors import FaceXError, ModelNotFound, OptionError, OutputError, WeightsCorrupt
from facex.ford.sd15 import ArcFaceNet, BiSeNet, D3DFRNet, L2CSNet, load_net
from facex.models.convert import KINDS, convert_checkpoint
from facex.models.registry import weight_specs
from tests import tiny

CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "arcface_r50": (ArcFaceNet, tiny.tiny_arcface, tiny.TINY_ARCFACE),
    "bisenet": (BiSeNet, tiny.tiny_bisenet, tiny.TINY_BISENET),
    "d3dfr": (D3DFRNet, tiny.tiny_d3dfr, tiny.TINY_D3DFR),
    "l2cs": (L2CSNet, tiny.tiny_l2cs, tiny.TINY_L2CS),
}


def as_published(kind: str, state: dict[str, torch.Tensor]) -> Any:
    """The wrapping in which the public file of that kind comes."""
    if kind == "d3dfr":
        optimiser = {"state": {0: {"step": 3}}, "param_groups": [{"lr": 1e-4}]}
        return {"net_recon": state, "opt_00": optimiser, "sched_00": {"last_epoch": 20}}
    return state


@pytest.mark.parametrize("kind", CASES)
def test_round_trip_through_the_published_form(kind: str, tmp_path: Path) -> None:
    net_class, build, config = CASES[kind]
    state = build().state_dict()
    src, dst = tmp_path / "public.pth", tmp_path / "ford" / "part"
    torch.save(as_published(kind, state), src)
    written = convert_checkpoint(kind, src, dst, config=config)
    assert sorted(p.name for p in dst.iterdir()) == ["config.json", written.name]
    assert [p.name for p in dst.parent.iterdir()] == ["part"]
    loaded = load_net(net_class, dst).state_dict()
    assert set(loaded) == set(state)
    assert all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.parametrize("wrap", ["module", "state_dict", "half", "old", "safetensors"])
def test_known_variations_are_understood(wrap: str, tmp_path: Path) -> None:
    state = {k: v.half().float() for k, v in tiny.tiny_bisenet().state_dict().items()}
    src = tmp_path / ("a.safetensors" if wrap == "safetensors" else "a.pth")
    variants: dict[str, Any] = {
        "module": {"module." + k: v for k, v in state.items()},
        "state_dict": {"state_dict": state, "epoch": 3},
        "half": {k: v.half() for k, v in state.items()},
        "old": {k: v for k, v in state.items() if "num_batches" not in k},
    }
    if wrap == "safetensors":
        save_file(state, src)
    else:
        torch.save(variants[wrap], src, _use_new_zipfile_serialization=wrap != "old")
    convert_checkpoint("bisenet", src, tmp_path / "out", config=tiny.TINY_BISENET)
    loaded = load_net(BiSeNet, tmp_path / "out").state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in state.items() if "num_batches" not in k)


def _spoil(name: str, state: dict[str, torch.Tensor]) -> Any:
    key = "cp.resnet.layer1.0.conv1.weight"
    if name == "missing":
        del state[key]
    if name == "unexpected":
        state["cp.sp.conv.weight"] = torch.zeros(1)
    if name == "misshapen":
        state[key] = state[key][:2]
    if name == "nan":
        state[key] = torch.full_like(state[key], torch.nan)
    if name == "no tensor":
        return {**state, key: [1, 2]}
    if name == "a list":
        return [1, 2, 3]
    if name == "empty":
        return {}
    return state


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", "lacks cp.resnet.layer1.0.conv1.weight"),
        ("unexpected", "holds cp.sp.conv.weight"),
        ("misshapen", "cp.resnet.layer1.0.conv1.weight has shape"),
        ("nan", "not finite"),
        ("no tensor", "is no tensor"),
        ("a list", "no named tensors"),
        ("empty", "no named tensors"),
    ],
)
def test_other_networks_are_refused_by_name(name: str, said: str, tmp_path: Path) -> None:
    src = tmp_path / "x.pth"
    torch.save(_spoil(name, tiny.tiny_bisenet().state_dict()), src)
    with pytest.raises(WeightsCorrupt, match=said):
        convert_checkpoint("bisenet", src, tmp_path / "out", config=tiny.TINY_BISENET)
    assert os.listdir(tmp_path) == ["x.pth"]


class Bomb:
    """A pickle that would run a command when it is opened."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.flag}",)


def test_a_pickle_bomb_is_refused_in_one_sentence_and_not_run(tmp_path: Path) -> None:
    src, flag = tmp_path / "bomb.pth", tmp_path / "ran"
    torch.save({"cp.resnet.conv1.weight": Bomb(flag)}, src)
    with pytest.raises(WeightsCorrupt, match="could run code") as caught:
        convert_checkpoint("bisenet", src, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not flag.exists()


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint at all", b"PK\x03\x04broken zip", None]
)
def test_damaged_files_are_refused(content: bytes | None, tmp_path: Path) -> None:
    src = tmp_path / "x.pth"
    if content is None:
        torch.save(tiny.tiny_bisenet().state_dict(), src)
        content = src.read_bytes()[:-2000]
    src.write_bytes(content)
    with pytest.raises(WeightsCorrupt) as caught:
        convert_checkpoint("bisenet", src, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="bisenet"):
        convert_checkpoint("nonsense", tmp_path / "x", tmp_path / "y")
    with pytest.raises(ModelNotFound):
        convert_checkpoint("bisenet", tmp_path / "x", tmp_path / "y")
    src = tmp_path / "x.pth"
    torch.save(tiny.tiny_bisenet().state_dict(), src)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_bytes(b"keep")
    for dst in (tmp_path / "photos", src):
        with pytest.raises(OutputError):
            convert_checkpoint("bisenet", src, dst, config=tiny.TINY_BISENET)
    assert os.listdir(tmp_path / "photos") == ["me.jpg"]


def test_converting_twice_replaces(tmp_path: Path) -> None:
    src = tmp_path / "x.pth"
    for seed in (1, 2):
        torch.save(tiny.tiny_bisenet(seed).state_dict(), src)
        convert_checkpoint("bisenet", src, tmp_path / "out", config=tiny.TINY_BISENET)
    loaded = load_net(BiSeNet, tmp_path / "out").state_dict()["conv_out.conv_out.weight"]
    assert torch.equal(loaded, tiny.tiny_bisenet(2).state_dict()["conv_out.conv_out.weight"])


def test_every_kind_of_the_list_is_known_and_all_errors_are_ours() -> None:
    assert {s.convert for s in weight_specs() if s.convert} <= set(KINDS)
    assert issubclass(WeightsCorrupt, FaceXError)
