# SPDX-License-Identifier: Apache-2.0
"""The fixed lists and holes: the same for everybody, and they come back as they were written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facex.cli.main import run
from facex.errors import OptionError
from facex.evaluate.faces import FaceSet
from facex.evaluate.masks import Hole, HoleKind, hole_mask
from facex.evaluate.pairs import read_pairs, write_lists
from facex.evaluate.protocols import cases_of, list_hash, protocol_table

HASHES = {
    "swap": "d27703d5ae74223c",
    "attribute": "b000ec4a9ade5750",
    "attribute-things": "8d218ed23ae86073",
    "gaze-driver": "f61ab5374d24306b",
    "inpaint-25": "d29e7e883d584e20",
    "inpaint-thick": "540ca1c0a51637e7",
}
"""Of the lists on forty made-up names: a change of them is a new version of the protocol."""
SHARES: dict[HoleKind, float] = {"thin": 0.288, "medium": 0.245, "thick": 0.270}
"""Mean hidden share of LaMa's own generator and settings, 8,000 holes that touch the face."""


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    folder = tmp_path_factory.mktemp("faces")
    for number in range(6):
        Image.new("RGB", (32, 32), (40 * number, 90, 90)).save(folder / f"{number:05d}.png")
    return FaceSet.open(folder)


@pytest.mark.parametrize("name", HASHES)
def test_lists_are_the_same_for_everybody(name: str, tmp_path: Path) -> None:
    names = tuple(f"face-{number:03d}" for number in range(40))
    made_up = FaceSet(tmp_path, names, {name: {} for name in names})
    protocol = protocol_table()[name]
    assert list_hash(protocol, cases_of(protocol, made_up)) == HASHES[name]


def test_a_list_that_was_written_is_read_back(faces: FaceSet, tmp_path: Path) -> None:
    chosen = [protocol_table()[name] for name in ("swap", "attribute", "mix", "inpaint-thick")]
    paths = write_lists(chosen, faces, tmp_path)
    assert [path.name for path in paths] == [*(f"{p.name}.csv" for p in chosen), "hashes.json"]
    hashes = json.loads(paths[-1].read_text())
    for protocol, path in zip(chosen, paths, strict=False):
        cases = cases_of(protocol, faces)
        back = read_pairs(path, protocol, faces)
        assert back == cases
        assert hashes[protocol.name]["list_hash"] == list_hash(protocol, back)
    holes = chosen[-1]
    with paths[-2].open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, case in zip(rows, cases_of(holes, faces), strict=True):
        shown = np.asarray(Image.open(tmp_path / row["hole"]))
        assert np.array_equal(shown, 255 * hole_mask(holes.hole, 256, case.seed))
    with paths[1].open(newline="") as file:
        assert [json.loads(row["asked"]) for row in csv.DictReader(file)][:2] == [
            {"chosen": ["lips"]}, {"chosen": ["brows"]},
        ]  # fmt: skip


def test_the_command_writes_them(
    faces: FaceSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "pairs", str(faces.folder), "--protocol", "reenact", "-o", str(tmp_path)]
    assert run(words) == 0
    assert capsys.readouterr().out.split() == [
        str(tmp_path / "reenact.csv"), str(tmp_path / "hashes.json"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "text", "says"),
    [
        ("variant", "9", "line 2: variant is '9', but must be 0 to 5"),
        ("seed", "-1", "seed is '-1'"),
    ],
)
def test_a_wrong_number_in_a_list_is_named(
    faces: FaceSet, tmp_path: Path, column: str, text: str, says: str
) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text(f"source,target,{column}\n00001,00002,{text}\n")
    with pytest.raises(OptionError, match=says):
        read_pairs(table, protocol_table()["attribute"], faces)


@pytest.mark.parametrize("kind", SHARES)
def test_irregular_holes_are_lamas(kind: HoleKind) -> None:
    masks = [hole_mask(Hole(kind=kind), 256, seed) for seed in range(300)]
    shares = np.array([mask.mean() for mask in masks])
    assert shares.mean() == pytest.approx(SHARES[kind], abs=0.03)
    assert shares.max() <= 0.5
    small = hole_mask(Hole(kind=kind), 128, 7)
    assert np.array_equal(small, masks[7][::2, ::2])


def test_half_a_picture_is_hidden_left_or_right() -> None:
    masks = [hole_mask(Hole(kind="half"), 64, seed) for seed in range(20)]
    assert {(bool(m[0, 0]), bool(m[0, -1]), float(m.mean())) for m in masks} == {
        (True, False, 0.5), (False, True, 0.5),
    }  # fmt: skip


def test_faces_are_known_by_their_pictures(faces: FaceSet, tmp_path: Path) -> None:
    for name in faces.names:
        Image.fromarray(faces.image(name)).save(tmp_path / f"{name}.png")
    copied = FaceSet.open(tmp_path)
    before = copied.contents
    assert copied.digest == faces.digest
    Image.new("RGB", (256, 256), "red").save(tmp_path / "00003.png")
    assert FaceSet.open(tmp_path).contents != before
    assert FaceSet.open(tmp_path).digest == faces.digest
