# SPDX-License-Identifier: Apache-2.0
"""Speed: what is varied, and that stages add up."""

from __future__ import annotations

import pytest
from PIL import Image

import facex
from facex.api import read_photo
from facex.evaluate.speed import Variant, machine, seconds_a_step, sweep, variants
from facex.recipes.schema import Recipe, Sliders


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


def test_the_slope_over_steps() -> None:
    rows = [
        {"group": "steps", "value": n, "seconds": {"generate": 0.5 + 0.25 * n}} for n in (4, 8, 16)
    ]
    assert seconds_a_step(rows) == pytest.approx(0.25)
    assert seconds_a_step(rows[:1]) is None
    assert machine()["torch"]
