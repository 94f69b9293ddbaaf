# SPDX-License-Identifier: Apache-2.0
"""What the tables of papers need: lists of pairs from a CSV, and recognisers in ONNX."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from facex.cli.main import run
from facex.errors import ModelNotFound, OptionError, WeightsCorrupt
from facex.evaluate.embedders import user_embedder
from facex.evaluate.faces import FaceSet
from facex.evaluate.pairs import read_pairs
from facex.evaluate.protocols import choose_protocols, list_hash, protocol_table

GUIDE = Path(__file__).parents[2] / "docs" / "published-results.md"


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    folder = tmp_path_factory.mktemp("faces")
    for name in ("00001", "00002", "00003"):
        Image.new("RGB", (32, 32), "grey").save(folder / f"{name}.png")
    return FaceSet.open(folder)


def test_a_list_is_taken_as_it_is(faces: FaceSet, tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("source,target\n00002.jpg,00001\n00001,00003\n00002,00003\n")
    swap = protocol_table()["swap"]
    cases = read_pairs(table, swap, faces)
    assert [(case.pictures["source"], case.target) for case in cases] == [
        ("00002", "00001"), ("00001", "00003"), ("00002", "00003"),
    ]  # fmt: skip
    assert [case.number for case in cases] == [0, 1, 2]
    table.write_text("source,target\n00002,00001\n00001,00003\n")
    assert list_hash(swap, read_pairs(table, swap, faces)) != list_hash(swap, cases)


def test_every_variant_has_its_turn_and_roles_of_oneself_are_filled(
    faces: FaceSet, tmp_path: Path
) -> None:
    table = tmp_path / "targets.csv"
    table.write_text("target\n00001\n00002\n00003\n")
    cases = read_pairs(table, protocol_table()["gaze-sliders"], faces)
    assert [case.variant for case in cases] == [0, 1, 2]
    own = read_pairs(table, protocol_table()["self-reconstruction"], faces)
    assert all(case.pictures == {"source": case.target} for case in own)
    holes = read_pairs(table, protocol_table()["inpaint-thick"], faces)
    assert len({case.seed for case in holes}) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("source,target\n00002,nobody\n", r"line 2: there is no face 'nobody' \(target\)"),
        ("source,target\n,00001\n", "line 2: source is empty"),
        ("target\n00001\n", "no column 'source'"),
        ("source,target\n", "has no rows"),
    ],
)
def test_a_wrong_list_is_one_sentence(faces: FaceSet, tmp_path: Path, text: str, says: str) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text(text)
    with pytest.raises(OptionError, match=says):
        read_pairs(table, protocol_table()["swap"], faces)


def test_a_list_is_for_one_protocol(
    faces: FaceSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("source,target\n00001,00002\n")
    words = ["evaluate", "run", str(faces.folder), "--pairs", str(table), "-o", str(tmp_path / "o")]
    assert run(words) == 2
    assert "--protocol" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_recogniser_in_onnx_says_what_torch_says(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    net = nn.Sequential(nn.Conv2d(3, 4, 7, 7), nn.Flatten(), nn.Linear(4 * 64, 8)).eval()
    path = tmp_path / "judge.onnx"
    # A fixed batch of one and a size of its own, as published recognisers often have.
    torch.onnx.export(net, (torch.zeros(1, 3, 56, 56),), str(path), dynamo=True, verbose=False,
                      external_data=False)  # fmt: skip
    judge = user_embedder(path)
    assert (judge.name, judge.size) == ("judge", 56)
    crops = torch.rand(3, 3, 56, 56) * 2 - 1
    torch.testing.assert_close(judge.net(crops), net(crops).detach(), atol=1e-5, rtol=1e-4)
    path.write_bytes(b"no graph")
    with pytest.raises(WeightsCorrupt, match="judge"):
        user_embedder(path)
    with pytest.raises(ModelNotFound):
        user_embedder(tmp_path / "gone.onnx")


def test_the_guides_commands_are_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Options and protocols of the guide exist; the data sets are the reader's."""
    assert run(["evaluate", "run", "--help"]) == 0
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    commands = [
        line
        for block in re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("facex evaluate run")
    ]
    assert len(commands) >= 5
    for command in commands:
        assert set(re.findall(r"--[a-z-]+", command)) <= known, command
        names = re.findall(r"--protocol (\S+)", command)
        assert names, command
        assert choose_protocols(names)
