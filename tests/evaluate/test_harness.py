# SPDX-License-Identifier: Apache-2.0
"""Runs: stopped and taken up, pictures of others with the same numbers, stale pictures, judges."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

import facex
from facex.cli.main import run
from facex.evaluate.compare import differences
from facex.evaluate.embedders import OWN, user_embedder
from facex.evaluate.faces import FaceSet
from facex.evaluate.judges import Judge
from facex.evaluate.protocols import protocol_table
from facex.evaluate.report import read_report
from facex.evaluate.store import _DRAWING, Store
from tests import tiny
from tests.evaluate.aligned import aligned
from tests.models import test_sd15_end_to_end as sd15

CHOSEN = ("inpaint-thick", "gaze-sliders")
QUICK = ("--split", "all", "--steps", "1", "--quiet")
TIMES = ("seconds", "seconds_measuring")
ALIKE = ("list_hash", "list", "cases", "total", "failed", "key")


@pytest.fixture(scope="module")
def faces(
    tmp_path_factory: pytest.TempPathFactory,
    mini: facex.FaceX,
    astronaut: Image.Image,
    hopper: Image.Image,
) -> Path:
    """Aligned crops of two people, one of them in two lights."""
    folder = tmp_path_factory.mktemp("faces")
    rows = ["name,person,male,age"]
    for name, photo in (("collins", astronaut), ("hopper", hopper)):
        image = aligned(mini, photo)
        image.save(folder / f"{name}.png")
        rows.append(f"{name},{name},0.1,40")
    ImageEnhance.Brightness(image).enhance(0.8).save(folder / "hopper-dark.png")
    rows.append("hopper-dark,hopper,0.1,40")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return folder


def evaluate(faces: Path, out: Path, *more: str) -> int:
    chosen = [word for name in CHOSEN for word in ("--protocol", name)]
    return run(["evaluate", "run", str(faces), "-o", str(out), *chosen, *QUICK, *more])


def numbers(out: Path) -> dict[str, Any]:
    protocols = read_report(out)["protocols"]
    return {n: {k: v for k, v in p.items() if k not in TIMES} for n, p in protocols.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> Path:
    """A run in one go."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert evaluate(faces, out) == 0
    return out


def test_a_stopped_run_goes_on_and_more_cases_are_added(
    tmp_path: Path, faces: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = Store.save_picture, []

    def stop(self: Store, protocol: str, system: str, key: str, pixels: Any) -> None:
        saved.append((protocol, system, key))
        if len(saved) == 4:  # the first case is complete, the second one is not
            raise KeyboardInterrupt
        save(self, protocol, system, key, pixels)

    monkeypatch.setattr(Store, "save_picture", stop)
    assert evaluate(faces, tmp_path, "--count", "2") != 0
    assert not (tmp_path / "report.json").exists()
    first = tmp_path / "pictures" / saved[0][0] / "ours" / "0000.png"
    before = first.stat().st_mtime_ns
    monkeypatch.setattr(Store, "save_picture", save)
    assert evaluate(faces, tmp_path, "--count", "1") == 0
    assert {p["cases"] for p in numbers(tmp_path).values()} == {1}
    assert evaluate(faces, tmp_path, "--count", "2") == 0
    assert first.stat().st_mtime_ns == before
    # A case drawn alone and one drawn in a batch may differ in the last digits.
    for name, protocol in numbers(whole).items():
        again = numbers(tmp_path)[name]
        assert {k: again[k] for k in ALIKE} == {k: protocol[k] for k in ALIKE}
        for measure, value in protocol["systems"]["ours"].items():
            found = again["systems"]["ours"][measure]["value"]
            assert found == pytest.approx(value["value"], rel=0.02, abs=0.05), measure


def test_what_is_done_is_not_done_again(
    faces: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facex.evaluate.editor import Editor

    def never(*_: object) -> None:
        raise AssertionError("done again")

    monkeypatch.setattr(Editor, "edit", never)
    monkeypatch.setattr(Judge, "read", never)
    before = numbers(whole)
    assert evaluate(faces, whole) == 0
    assert numbers(whole) == before


def test_two_processes_measure_what_one_does(
    tmp_path: Path, faces: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, again = Judge.read, []
    monkeypatch.setattr(Judge, "read", lambda *a, **k: (again.append(a), read(*a, **k))[1])
    assert evaluate(faces, tmp_path / "out", "--jobs", "2") == 0
    # All was read by the others.
    assert not again
    one, two = numbers(whole), numbers(tmp_path / "out")
    assert one.keys() == two.keys()
    for name, protocol in one.items():
        for measure, value in protocol["systems"]["ours"].items():
            found = two[name]["systems"]["ours"][measure]["value"]
            # Threads may add in another order.
            assert found == pytest.approx(value["value"], rel=0.02, abs=0.05), measure


@pytest.mark.parametrize("name", CHOSEN)
def test_our_own_pictures_taken_in_have_the_very_numbers(
    tmp_path: Path, faces: Path, whole: Path, name: str
) -> None:
    lists, out = tmp_path / "lists", tmp_path / "out"
    words = ["evaluate", "pairs", str(faces), "--split", "all", "--protocol", name]
    assert run([*words, "-o", str(lists)]) == 0
    taken = ["evaluate", "external", str(lists / f"{name}.csv"),
             str(whole / "pictures" / name / "ours"), str(faces), "--protocol", name]  # fmt: skip
    assert run([*taken, "-o", str(out), "--quiet"]) == 0
    ours, theirs = numbers(whole)[name], numbers(out)[name]
    for part in ("list_hash", "list", "cases", "total", "version"):
        assert theirs[part] == ours[part]
    for system in theirs["systems"]:
        # What an edit may change is known of ours alone.
        inside = {k: v for k, v in ours["systems"][system].items() if "outside" not in k}
        assert theirs["systems"][system] == inside
    found = differences(read_report(whole), read_report(out))
    assert {item.protocol for item in found} == {name}
    assert not any(item.verdict for item in found)


def test_stale_pictures_are_refused(
    tmp_path: Path, faces: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs, table = tmp_path / "outputs", tmp_path / "pairs.csv"
    shutil.copytree(faces, outputs)
    mask = np.zeros((256, 256), np.uint8)
    mask[60:, 40:220] = 255
    Image.fromarray(mask).save(outputs / "mask.png")

    def write(seed: int) -> None:
        with table.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["target", "source", "seed", "output", "mask"])
            writer.writerow(["collins", "hopper", seed, "collins.png", "mask.png"])

    def refused(what: str) -> None:
        words = ["evaluate", "external", str(table), str(outputs), str(faces), "--quiet"]
        assert run([*words, "-o", str(tmp_path / "out")]) == (2 if what else 0)
        error = capsys.readouterr().err
        assert f"another {what}" in error if what else not error

    write(5)
    refused("")
    ours = numbers(tmp_path / "out")["swap"]["systems"]["ours"]
    assert ours["outside_max"]["value"] == 0
    refused("")
    write(6)
    refused("protocol swap list")
    write(5)
    shutil.copy(faces / "hopper.png", outputs / "collins.png")
    refused("protocol swap output 0000")
    shutil.copytree(faces, tmp_path / "faces")
    shutil.copy(faces / "hopper.png", tmp_path / "faces" / "hopper-dark.png")
    assert evaluate(tmp_path / "faces", whole) == 2
    assert "another pictures" in capsys.readouterr().err


def test_an_edited_protocol_is_another_one(tmp_path: Path) -> None:
    swap = protocol_table()["swap"]
    key = f"protocol {swap.name}"
    Store(tmp_path, {"model": "m", key: swap.digest})
    Store(tmp_path, {"model": "m", "protocol pose": "p"})
    assert json.loads((tmp_path / "run.json").read_text())[key] == swap.digest
    changed = swap.model_copy(update={"variants": ({"kappa": 0.5},)})
    with pytest.raises(facex.FaceXError, match="another protocol swap"):
        Store(tmp_path, {"model": "m", key: changed.digest})


def test_a_recogniser_is_read_from_a_folder_and_judges_before_ours(
    tmp_path: Path, faces: Path
) -> None:
    tiny.tiny_arcface(3).save_pretrained(tmp_path / "arcface")
    judge = Judge.load(embedders=[tmp_path / "arcface"])
    assert [e.name for e in judge.embedders] == [OWN, "arcface"]
    assert judge.digest != Judge.load().digest
    found = judge.read([FaceSet.open(faces, split="all").image("collins")], light=True)[0]
    embedder = user_embedder(tmp_path / "arcface")
    assert found["embedding:arcface"].shape == (tiny.TINY_ARCFACE["embedding_dim"],)
    assert np.linalg.norm(found["embedding:arcface"]) == pytest.approx(1, abs=1e-5)
    crops = torch.zeros(2, 3, 112, 112)
    assert torch.isfinite(embedder.net(crops)).all()


def test_a_users_features_name_the_distance(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.AvgPool2d(64), torch.nn.Flatten())
    torch.jit.script(net).save(str(tmp_path / "inception.pt"))
    judge = Judge.load(features=tmp_path / "inception.pt")
    assert judge.features is not None
    assert judge.features.name == "inception"
    assert judge.features(torch.rand(2, 3, 256, 256)).shape == (2, 48)


def test_the_page_has_the_groups_and_the_key(whole: Path) -> None:
    page = (whole / "report.html").read_text()
    assert "By group" in page
    report = read_report(whole)["protocols"]
    assert report["gaze-sliders"]["key"] == "slider_missed"
    assert report["inpaint-thick"]["key"] == "hole_psnr"  # no LPIPS without its network


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, astronaut: Image.Image) -> Path:
    """Stable Diffusion 1.5 in small, whose crops are half as large as the faces."""
    path = tiny.make_tiny_sd15_folder(tmp_path_factory.mktemp("sd15") / "model")
    sd15.let_every_class_occur(path / "ford" / "bisenet", astronaut.crop((80, 0, 400, 320)))
    sd15.add_facex(path)
    return path


def test_a_model_of_another_size_is_measured_at_the_faces_own(
    tmp_path: Path, faces: Path, tiny_model: Path
) -> None:
    words = ["evaluate", "run", str(faces), "-o", str(tmp_path), *QUICK, "--count", "1",
             "--model", str(tiny_model)]  # fmt: skip
    assert run([*words, "--protocol", "inpaint-box", "--protocol", "repair-face"]) == 0
    report = read_report(tmp_path)["protocols"]
    assert set(report) == {"inpaint-box"}  # damage is that of the other scale's training
    assert report["inpaint-box"]["systems"]["reference"]["psnr"]["value"] > 5
    for system in ("ours", "reference", "mask"):
        path = tmp_path / "pictures" / "inpaint-box" / system / "0000.png"
        assert Image.open(path).size == (256, 256)


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["mini", "sd15"])
def test_every_protocol_runs(tmp_path: Path, faces: Path, tiny_model: Path, scale: str) -> None:
    words = ["evaluate", "run", str(faces), "-o", str(tmp_path), *QUICK, "--count", "1"]
    model = ["--model", str(tiny_model)] if scale == "sd15" else []
    assert run([*words, *model]) == 0
    report = read_report(tmp_path)["protocols"]
    left_out = {"stylize", "repair-face", "repair-turn"} if scale == "sd15" else set()
    assert set(report) == set(protocol_table()) - left_out
    for name, protocol in report.items():
        assert protocol["cases"] == 1, name
        assert protocol["key"] is not None, name


def test_the_hash_of_the_code_covers_all_that_draws() -> None:
    """Modules that an edit of aligned crops loads, but for those that draw nothing."""
    code = "import sys, facex.evaluate.editor; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in found.stdout.split() if name.startswith("facex.")}
    silent = ("config", "detect", "doubts", "errors", "evaluate", "result", "timing", "train")
    package = Path(facex.__file__).parent
    drawing = {name for name in loaded if name.split(".")[1] not in silent}
    assert len(drawing) > 40
    for name in drawing:
        file = Path(str(import_module(name).__file__))
        assert any(file.is_relative_to(package / place) for place in _DRAWING), name
