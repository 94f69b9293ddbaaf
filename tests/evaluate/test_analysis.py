# SPDX-License-Identifier: Apache-2.0
"""How FORD and the bars are measured: arithmetic with known answers, and the command once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import facex
from facex.cli.main import run
from facex.evaluate.analysis.changes import CHANGES, by_name
from facex.evaluate.analysis.leaks import leak_table
from facex.evaluate.analysis.measures import Pairs, f1_of, light_error, overlap_counts
from facex.evaluate.bars import analysis_rows, bar_table, generator_rows
from facex.evaluate.metrics.motion import angles_of
from facex.evaluate.protocols import protocol_table
from tests.evaluate.aligned import aligned


def spot(value: float, count: int = 9) -> dict[str, float]:
    return {"value": value, "low": value, "high": value, "count": count}


def test_bars_are_met_or_missed_on_the_right_side() -> None:
    rows = {row.bar.measures[0]: row for row in analysis_rows({
        "landmarks": spot(2.5), "pose_deg": spot(2.1), "identity_auc": spot(0.999),
    })}  # fmt: skip
    verdicts = {name: row.verdict for name, row in rows.items()}
    assert verdicts == {"landmarks": "bar", "pose_deg": "missed", "identity_auc": "goal"}


def test_a_bar_over_a_baseline_takes_the_better_one() -> None:
    systems = {
        "ours": {"hole_lpips": spot(0.2)},
        "telea": {"hole_lpips": spot(0.5)},
        "navier_stokes": {"hole_lpips": spot(0.4)},
    }
    (row,) = generator_rows({"inpaint-25": {"systems": systems}})
    assert row.value == pytest.approx(0.5)
    assert row.verdict == "bar"


def test_bars_speak_of_protocols_that_there_are() -> None:
    known = set(protocol_table())
    assert {bar.protocol for bar in bar_table()["generator"]} <= known


def test_the_worst_of_several_numbers_counts() -> None:
    systems = {"ours": {"top1@id_edgeface_xs": spot(0.5), "top1@id_faceres1024": spot(0.99)}}
    (row,) = generator_rows({"head-swap": {"systems": systems}})
    assert row.value == 0.5


def test_people_are_told_apart_by_a_code_that_is_theirs() -> None:
    rng = np.random.default_rng(0)
    codes = np.repeat(np.eye(6), 2, 0)
    names = [f"{k}" for k in range(12)]
    person = {name: str(int(name) // 2) for name in names}
    pairs = Pairs.of(codes, codes, names, names, person)
    assert len(pairs.same) == 6
    assert pairs.auc().value == pairs.tar().value == 1
    noise = rng.normal(size=(12, 64))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    assert Pairs.of(noise, noise, names, names, person).auc().value < 0.9


def test_overlap_leaves_out_what_nobody_knows() -> None:
    truth = np.array([[1, 1, 255, 17]], np.uint8)
    found = np.array([[1, 17, 3, 17]], np.uint8)
    f1 = f1_of(overlap_counts(found, truth))
    assert f1[1] == pytest.approx(2 / 3)
    assert f1[17] == pytest.approx(2 / 3)
    assert np.isnan(f1[3])


def test_light_from_the_left_is_mirrored_light_from_the_right() -> None:
    left = np.zeros(27)
    left[[0, 3, 9, 12]] = 1, 0.5, 1, 0.5
    right = left.copy()
    right[[3, 12]] *= -1
    assert light_error(left, right) == 0
    assert light_error(left, left) > 0.1


def test_a_probe_finds_what_was_put_in_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    shared, own = rng.normal(size=(300, 4)), rng.normal(size=(300, 4))
    table = leak_table(
        {"leaky": shared + 0.1 * own, "tight": own}, {"label": shared}, [str(k) for k in range(300)]
    )
    assert table["leaky"]["label"] > 0.9
    assert table["tight"]["label"] < 0.1


@pytest.mark.parametrize("name", ["turned", "shifted"])
@pytest.mark.parametrize("number", range(4))
def test_labels_move_with_the_picture(name: str, number: int) -> None:
    size, change = 128, by_name()[name]
    picture = np.zeros((size, size, 3), np.uint8)
    picture[50:53, 70:73] = 255
    reading = {
        "points": np.array([[71.5, 51.5, 0]]), "gaze": np.zeros(2), "rotation": np.eye(3),
    }  # fmt: skip
    moved = change.picture(picture, number).astype(float).mean(2)
    labels = change.labels(reading, size, number)
    rows, columns = np.nonzero(moved > 60)
    centre = np.average(np.stack([columns, rows], 1) + 0.5, 0, moved[rows, columns])
    assert labels["points"][0, :2] == pytest.approx(centre, abs=0.3)
    turned = angles_of(labels)["roll"] - angles_of(reading)["roll"]
    assert abs(turned) == pytest.approx(20 if name == "turned" else 0, abs=1e-3)


def test_what_does_not_move_a_face_keeps_its_labels() -> None:
    reading = {"points": np.ones((1, 3))}
    for change in CHANGES:
        if change.move is None:
            assert change.labels(reading, 64, 0) is reading


def test_the_command_measures_the_bundled_analysis(
    tmp_path: Path, mini: facex.FaceX, astronaut: Image.Image, hopper: Image.Image
) -> None:
    faces = tmp_path / "faces"
    faces.mkdir()
    for name, photo in (("collins", astronaut), ("hopper", hopper)):
        aligned(mini, photo).save(faces / f"{name}.png")
    out = tmp_path / "report"
    assert run(["evaluate", "ford", str(faces), "-o", str(out)]) == 0
    measures = json.loads((out / "ford.json").read_text())["measures"]
    # Without teachers the labels are FORD's own.
    assert measures["landmarks"]["value"] < 1
    assert measures["mirror_f1"]["value"] > 0.7
    assert (out / "ford.html").stat().st_size > 10_000
    assert run(["evaluate", "ford", str(faces), "-o", str(out)]) == 0
