# SPDX-License-Identifier: Apache-2.0
"""The sd15 trainer's settings and arithmetic, without a model: order, weights, presets, errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("accelerate")

from facex.errors import OptionError
from facex.train.main import read_config
from facex.train.sd15.config import Sd15Config
from facex.train.sd15.loss import level_weight
from facex.train.sd15.order import Batches, FaceOrder
from facex.train.sd15.trainer import make_optimizer

ROOT = Path(__file__).resolve().parents[2]
PATHS = {"model": "a", "data": "b", "out": "c"}


def test_eight_bits_need_what_is_said() -> None:
    settings = Sd15Config.model_validate(PATHS | {"optimizer": "adamw8bit"})
    parameters = [torch.nn.Parameter(torch.zeros(3))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "bitsandbytes", None)
        with pytest.raises(OptionError, match="pip install bitsandbytes"):
            make_optimizer(settings, parameters, torch.device("cpu"))
        auto = settings.model_copy(update={"optimizer": "auto"})
        made = make_optimizer(auto, parameters, torch.device("cuda"))
    assert type(made) is torch.optim.AdamW


def test_each_epoch_sees_every_face_once_in_another_order() -> None:
    order = FaceOrder([3, 5, 2, 4], seed=1, mixed=2)
    epochs = [[order.place(n) for n in range(k * 14, k * 14 + 14)] for k in range(3)]
    for k, places in enumerate(epochs):
        assert {place.epoch for place in places} == {k}
        assert len({(place.group, place.row) for place in places}) == 14
    assert len({tuple((p.group, p.row) for p in places) for places in epochs}) == 3


def test_processes_share_the_numbers() -> None:
    def first(rank: int, world: int, size: int, begin: int) -> list[int]:
        return next(iter(Batches(size, rank, world, begin)))

    assert first(0, 2, 2, 3) + first(1, 2, 2, 3) == first(0, 1, 4, 3) == [12, 13, 14, 15]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr_is_the_same_for_every_prediction(kind: str) -> None:
    from facex.frc.base import Level

    share = torch.tensor([0.001, 0.3, 0.9, 0.999]).view(-1, 1, 1, 1)
    level = Level(share.sqrt(), (1 - share).sqrt())
    snr = share / (1 - share)
    plain = level_weight(level, None, kind)
    torch.testing.assert_close(plain, snr + 1 if kind == "v_prediction" else snr)
    torch.testing.assert_close(level_weight(level, 5.0, kind), snr.clamp(max=5.0))


def test_the_presets_are_valid() -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    presets = ROOT / "facex" / "train" / "presets"
    settings = Sd15Config.model_validate(read_config(presets / "sd15.yaml", {}))
    defaults = Sd15Config.model_validate(PATHS)
    changed = {"model", "data", "out", "workers"}
    assert settings.model_dump(exclude=changed) == defaults.model_dump(exclude=changed)
    for name, processes in (("ddp-1", 1), ("ddp-8", 8), ("fsdp-8", 8), ("fsdp-64", 64)):
        found: Any = load_config_from_file(str(presets / "accelerate" / f"{name}.yaml"))
        assert found.num_processes == processes
        assert found.mixed_precision == "bf16"
        assert ("FSDP" in str(found.distributed_type)) == name.startswith("fsdp")


def test_the_module_runs_as_accelerate_launches_it(tmp_path: Path) -> None:
    path = tmp_path / "sd15.yaml"
    path.write_text("kind: sd15\n")
    command = [sys.executable, "-m", "facex.train", str(path), "--set", "kind=painter"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    kinds = "generator (mini), harmonizer, style (mini) or sd15"
    told = f"facex: {path}: kind: 'painter' is unknown; expected {kinds}"
    assert done.stderr.strip() == told
