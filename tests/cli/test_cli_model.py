# SPDX-License-Identifier: Apache-2.0
"""The command line with the bundled model on a real portrait: the pictures, not only the codes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from facex.cli.main import run
from facex.models.hub import BUNDLED

pytestmark = pytest.mark.skipif(
    not (BUNDLED / "facex_index.json").exists(), reason="the bundled model is not there"
)


@pytest.fixture(scope="module")
def portrait(tmp_path_factory):
    """A public-domain portrait that comes with matplotlib."""
    cbook = pytest.importorskip("matplotlib.cbook")
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        picture = Image.open(file).convert("RGB")
    path = tmp_path_factory.mktemp("portrait") / "portrait.png"
    picture.save(path)
    return path


def last_record(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_an_edit_changes_the_face_and_nothing_else(portrait, tmp_path, capsys):
    out = tmp_path / "x.png"
    line = ["pose", str(portrait), "--yaw", "8", "--steps", "1", "-o", str(out), "--json"]
    assert run(line) == 0
    record = last_record(capsys)
    assert record["faces"] == 1
    assert record["output"] == str(out)
    assert {"decompose", "all"} <= record["timings"].keys()
    before, after = np.asarray(Image.open(portrait)), np.asarray(Image.open(out))
    changed = (before != after).any(axis=2)
    assert 0.01 < changed.mean() < 0.8
    assert not changed[:5].any()
    assert not changed[-5:].any()

    assert run(["verify", str(out), "--json"]) == 0
    report = last_record(capsys)
    assert report["by_facex"] is True
    assert report["metadata"]["recipe"]["steps"][0]["sliders"]["yaw"] == 8
    assert run(["verify", str(portrait), "--json"]) == 0
    assert last_record(capsys)["by_facex"] is False


def test_no_mark_leaves_no_trace(portrait, tmp_path, capsys):
    out = tmp_path / "x.png"
    line = ["gaze", str(portrait), "--yaw", "5", "--steps", "1", "-o", str(out), "--no-mark", "-q"]
    assert run(line) == 0
    assert run(["verify", str(out), "--json"]) == 0
    report = last_record(capsys)
    assert report["by_facex"] is False
    assert report["metadata"] is None


def test_a_number_of_a_face_that_is_not_there(portrait, tmp_path, capsys):
    line = ["pose", str(portrait), "--yaw", "8", "--face", "9", "-o", str(tmp_path / "x.png")]
    assert run(line) == 2
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1
    assert "9" in printed.err
    assert list(tmp_path.iterdir()) == []


def test_decompose_and_read_again(portrait, tmp_path, capsys):
    folder = tmp_path / "parts"
    assert run(["decompose", str(portrait), "-o", str(folder), "--json"]) == 0
    (face,) = last_record(capsys)["faces"]
    assert abs(face["pose_degrees"]["yaw"]) < 45
    names = {path.name for path in folder.iterdir()}
    assert {"representation.safetensors", "summary.json"} < names
    assert any(name.startswith("face1-") for name in names)
    saved = folder / "representation.safetensors"
    assert run(["decompose", str(saved), "-o", str(tmp_path / "again"), "--json"]) == 0
    assert last_record(capsys)["faces"] == [face]


@pytest.mark.parametrize(("kind", "said"), [("bisenet", "photo.pth"), ("gpt", "kind 'gpt'")])
def test_a_file_that_cannot_be_converted(kind, said, tmp_path, capsys):
    source = tmp_path / "photo.pth"
    source.write_text("this is no checkpoint")
    assert run(["models", "convert", kind, str(source), str(tmp_path / "made")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert list(tmp_path.iterdir()) == [source]


def test_benchmark(portrait, capsys):
    line = ["benchmark", "gaze", str(portrait), "--runs", "1", "--steps", "1", "--json"]
    assert run(line) == 0
    record = last_record(capsys)
    assert record["cold"].keys() == record["warm_median"].keys()
    assert record["load"] > 0
    assert record["peak_megabytes"] > 10
