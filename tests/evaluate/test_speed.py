# SPDX-License-Identifier: Apache-2.0
"""Speed: what is varied, and that stages add up."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import facex
from facex.api import read_photo
from facex.cli.main import run
from facex.evaluate.machine import gpu_peak_megabytes, machine, peak_megabytes
from facex.evaluate.speed import StepClock, Variant, seconds_a_step, sweep, variants
from facex.recipes.schema import Recipe, Sliders
from facex.timing import timed


def test_variants_differ_in_one_number(astronaut: Image.Image) -> None:
    photo = read_photo(astronaut)
    groups: dict[str, list[Variant]] = {}
    for variant in variants(photo):
        groups.setdefault(variant.group, []).append(variant)
    assert [v.steps for v in groups["steps"]] == [4, 8, 16, 25]
    assert all(max(v.photo.size) == v.value for v in groups["side"])
    widths = [v.photo.size[0] for v in groups["faces"]]
    assert widths == [widths[0] * v.value for v in groups["faces"]]
    assert {v.group for v in variants(photo, several=False)} == {"steps", "side"}


def test_stages_add_up(mini: facex.FaceX, astronaut: Image.Image) -> None:
    photo = read_photo(astronaut)
    recipe = Recipe.for_task("gaze", sliders=Sliders(gaze_yaw=10))
    todo = [Variant("steps", 1, photo, 1), Variant("steps", 3, photo, 3)]
    records = sweep(mini, recipe, {}, todo, rounds=1)
    for record in records:
        parts = dict(record["seconds"])
        whole = parts.pop("all")
        assert {"detect", "decompose", "assemble", "generate", "decode", "paste", "mark"} <= set(
            parts
        )
        assert 0.5 * whole < sum(parts.values()) <= whole
        assert record["faces"] == 1
        assert record["peak_megabytes"] > 50


def test_the_slope_over_steps() -> None:
    rows = [
        {"group": "steps", "value": n, "seconds": {"generate": 0.5 + 0.25 * n}} for n in (4, 8, 16)
    ]
    assert seconds_a_step(rows) == pytest.approx(0.25)
    assert seconds_a_step(rows[:1]) is None


def test_the_machine_is_described() -> None:
    found = machine()
    assert found["torch"]
    assert found["processor"]
    assert found["cores"] >= 1
    assert found["threads"] >= 1
    assert peak_megabytes() > 50
    assert gpu_peak_megabytes() is None or torch.cuda.is_available()


def test_steps_have_a_time_each() -> None:
    clock = StepClock()
    for done in range(1, 6):
        clock(done, 5, "drawing")
        time.sleep(0.01)
    clock(1, 5, "drawing")  # another run begins
    assert len(clock.seconds) == 4
    assert clock.median == pytest.approx(0.01, abs=0.05)
    assert StepClock().median is None


@pytest.mark.parametrize("initialised", [False, True])
def test_a_gpu_is_waited_for_before_the_clock_is_read(
    monkeypatch: pytest.MonkeyPatch, initialised: bool
) -> None:
    waited: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: initialised)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda index: 1000 * index)
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    timings: dict[str, float] = {}
    with timed(timings, "stage"):
        assert waited == ([1] if initialised else [])
    assert waited == ([1, 1] if initialised else [])
    with timed(None, "stage"):
        pass
    assert len(waited) == (2 if initialised else 0)


def test_every_style_task_can_be_timed(
    tmp_path: Path, astronaut: Image.Image, capsys: pytest.CaptureFixture[str]
) -> None:
    astronaut.resize((192, 192)).save(tmp_path / "photo.png")
    words = ["benchmark", "stylize", str(tmp_path / "photo.png"), "--runs", "1", "--steps", "2"]
    assert run([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["warm_median"]["read"] > 0
    assert record["peak_megabytes"] > 50
    assert (
        sum(v for k, v in record["warm_median"].items() if k != "all")
        <= (record["warm_median"]["all"])
    )
