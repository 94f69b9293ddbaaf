# SPDX-License-Identifier: Apache-2.0
"""The harmonizer: untrained it changes nothing; its trainer learns, and resumes exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facex.errors import OptionError
from facex.frc.harmonizer import Harmonizer
from facex.train.composites import CHANNELS, Composites
from facex.train.disharmony import disharmonize
from facex.train.harmonizer import HarmonizerConfig, HarmonizerTrainer, mirrored
from facex.train.shards import Row, pack, write_shard
from tests.fors import made_up
from tests.tiny import seeded

SIZE = 64


def pictures(seed: int) -> dict[str, torch.Tensor]:
    """A photo in which the edit came out too bright, with its masks."""
    with seeded(seed):
        truth = torch.rand(3, SIZE, SIZE) - 0.5
    edit = torch.zeros(1, SIZE, SIZE)
    edit[:, 16:48, 16:48] = 1
    known, geometry = torch.ones_like(edit), torch.zeros_like(truth)
    parts = (truth + 0.3 * edit, truth, known, edit, geometry)
    return dict(zip(CHANNELS, parts, strict=True))


def row(seed: int) -> Row:
    return {
        "pictures": pack(pictures(seed), CHANNELS),
        "points": made_up.geometry(0, 0, SIZE).landmarks[0].numpy(),
        "identity": np.ones(512),
        "repair": seed % 2 == 0,
    }


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "composites"
    write_shard(folder, 0, [row(n) for n in range(4)])
    return folder


def config(shards: Path, out: Path, **changes: Any) -> HarmonizerConfig:
    values = {
        "composites": shards, "out": out, "batch_size": 2, "widths": (8, 8), "blocks": (1, 1),
        "max_steps": 4, "learning_rate": 1e-2, "adversarial_weight": 0.1, "held": 0.25,
    }  # fmt: skip
    return HarmonizerConfig.model_validate({**values, **changes})


def test_untrained_it_changes_nothing_and_never_anything_outside() -> None:
    network = Harmonizer((8, 16), (1, 1))
    images, masks = torch.rand(2, 3, SIZE, SIZE), torch.rand(2, 1, SIZE, SIZE)
    edit = (masks > 0.5).float()
    assert float(network(images, masks, edit, images).abs().max()) == 0
    torch.nn.init.ones_(network.exit[-1].weight)
    change = network(images, masks, edit, images)
    assert float(change.abs().max()) > 0
    assert float((change * (1 - edit)).abs().max()) == 0


def test_shards_give_back_what_was_written_and_new_ones_are_found(shards: Path) -> None:
    data = Composites(shards)
    batch = data.batch(np.array([1, 2]))
    for name in ("composite", "truth"):
        expected = torch.stack([pictures(seed)[name] for seed in (1, 2)])
        assert torch.allclose(batch[name], expected, atol=0.005)
    assert batch["edit"].unique().tolist() == [0, 1]
    assert batch["repair"].tolist() == [False, True]
    write_shard(shards, 4, [row(4)])
    data.refresh()
    assert len(data) == 5


def test_two_mirrors_show_the_batch_itself(shards: Path) -> None:
    batch = Composites(shards).batch(np.array([0, 3]))
    once, twice = mirrored(batch), mirrored(mirrored(batch))
    assert not torch.equal(once["composite"], batch["composite"])
    assert all(torch.allclose(twice[name], value, atol=1e-4) for name, value in batch.items())


def test_faults_are_painted_inside_of_the_edit_and_the_same_ones_again(shards: Path) -> None:
    batch = Composites(shards).batch(np.arange(4))
    once, again = (disharmonize(batch, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(once, again)
    changed = (once - batch["composite"]).abs() > 0
    assert changed.any(1, keepdim=True)[batch["edit"] > 0].float().mean() > 0.3
    assert not (changed & (batch["edit"] == 0)).any()
    assert once.isfinite().all()
    assert once.abs().max() <= 1


def test_a_map_of_tones_alone_moves_colours_and_keeps_detail() -> None:
    network = Harmonizer((8, 16), (1, 1), tone=True)
    image, edit = torch.rand(1, 3, SIZE, SIZE) - 0.5, torch.ones(1, 1, SIZE, SIZE)
    assert float(network(image, edit, edit, image).abs().max()) == 0
    with torch.no_grad():
        network.tones[0].bias[:3] = 0.2
        change = network(image, edit, edit, image)
    expected = (image + 1) * (np.exp(0.2) - 1)
    assert torch.allclose(change, expected, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"faulty": 0.0, "smooth_weight": 3.0}])
def test_it_learns_what_edits_have_in_common(
    shards: Path, tmp_path: Path, changes: dict[str, float]
) -> None:
    trainer = HarmonizerTrainer(
        config(shards, tmp_path / "run", max_steps=60, adversarial_weight=0, ema=0.5, **changes)
    )
    before = trainer.measure()
    trainer.run()
    after = trainer.measure()
    assert after["held_before"] == before["held_before"]
    assert after["held_after"] < 0.6 * before["held_after"]


def test_a_resumed_run_is_an_uninterrupted_one(shards: Path, tmp_path: Path) -> None:
    whole = HarmonizerTrainer(config(shards, tmp_path / "whole"))
    whole.run()
    HarmonizerTrainer(config(shards, tmp_path / "parts", max_steps=2)).run()
    parts = HarmonizerTrainer(config(shards, tmp_path / "parts"))
    assert parts.step == 2
    parts.run()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, parts.model.state_dict()[name]), name


def test_a_deeper_network_begins_as_what_it_is_made_of(shards: Path, tmp_path: Path) -> None:
    HarmonizerTrainer(config(shards, tmp_path / "a")).run()
    start = tmp_path / "a" / "model"
    grown = HarmonizerTrainer(config(shards, tmp_path / "b", start=start, blocks=(3, 2))).model
    shallow = Harmonizer.from_pretrained(start)
    assert sum(p.numel() for p in grown.parameters()) > sum(p.numel() for p in shallow.parameters())
    batch = Composites(shards).batch(np.arange(2))
    inputs = [batch[name] for name in ("composite", "known", "edit", "geometry")]
    with torch.no_grad():
        assert shallow(*inputs).abs().max() > 0
        # Another memory format adds in another order.
        torch.testing.assert_close(grown(*inputs), shallow(*inputs), rtol=1e-4, atol=1e-5)


def test_missing_composites_are_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"facex\.train\.composites"):
        HarmonizerTrainer(config(tmp_path / "none", tmp_path / "run"))
