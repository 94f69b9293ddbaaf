# SPDX-License-Identifier: Apache-2.0
"""Pictures made by others, from the table to the report; a model that does nothing or pastes."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance

import facex
from facex.cli.main import run
from facex.evaluate.compare import differences
from facex.evaluate.report import markdown, read_report
from tests.evaluate.aligned import aligned

NAMES = ("collins", "hopper")


@pytest.fixture(scope="module")
def faces(
    tmp_path_factory: pytest.TempPathFactory,
    mini: facex.FaceX,
    astronaut: Image.Image,
    hopper: Image.Image,
) -> Path:
    """Aligned crops of two people."""
    folder = tmp_path_factory.mktemp("faces")
    for name, photo in zip(NAMES, (astronaut, hopper), strict=True):
        aligned(mini, photo).save(folder / f"{name}.png")
    return folder


def table(folder: Path, faces: Path, kind: str) -> Path:
    """Outputs that are the target, the source, or the source in another light."""
    folder.mkdir()
    path = folder / "pairs.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["source", "target", "output"])
        for source, target in (NAMES, NAMES[::-1]):
            image = Image.open(faces / f"{source if kind != 'nothing' else target}.png")
            image = ImageEnhance.Brightness(image).enhance(0.8) if kind == "dark" else image
            image.save(folder / f"{target}.png")
            writer.writerow([f"{source}.png", target, f"{target}.png"])
    return path


def measured(folder: Path, faces: Path, kind: str) -> dict[str, dict[str, float]]:
    """Run the command; measures of every system by name."""
    path = table(folder / kind, faces, kind)
    out = folder / f"{kind}-report"
    assert (
        run(["evaluate", "external", str(path), str(path.parent), str(faces), "-o", str(out)]) == 0
    )
    systems = read_report(out)["protocols"]["swap"]["systems"]
    return {s: {n: v["value"] for n, v in values.items()} for s, values in systems.items()}


@pytest.fixture(scope="module")
def verdicts(
    tmp_path_factory: pytest.TempPathFactory, faces: Path
) -> tuple[Path, dict[str, dict[str, dict[str, float]]]]:
    folder = tmp_path_factory.mktemp("reports")
    return folder, {kind: measured(folder, faces, kind) for kind in ("nothing", "paste")}


def test_a_model_that_does_nothing_and_one_that_pastes_get_what_they_deserve(
    verdicts: tuple[Path, dict[str, dict[str, dict[str, float]]]],
) -> None:
    nothing, paste = (verdicts[1][kind]["ours"] for kind in ("nothing", "paste"))
    assert nothing["top1@facex"] == 0
    assert nothing["kept_cosine@facex"] == pytest.approx(1, abs=1e-3)
    assert nothing["pose_deg"] == pytest.approx(0, abs=1e-3)
    assert paste["top1@facex"] == 1
    assert paste["cosine@facex"] == pytest.approx(1, abs=1e-3)
    assert paste["pose_deg"] > 3
    # The baseline of that name does the same thing to the same pictures.
    assert verdicts[1]["nothing"]["target"] == pytest.approx(nothing, abs=1e-6, nan_ok=True)


def test_the_report_needs_nothing_else_and_says_what_was_measured(
    verdicts: tuple[Path, dict[str, dict[str, dict[str, float]]]],
) -> None:
    out = verdicts[0] / "paste-report"
    page = (out / "report.html").read_text()
    found: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(v or "" for k, v in attrs if k in ("src", "href"))

    Links().feed(page)
    assert found
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in found)
    assert not re.search(r"https?://", page)
    text = "\n".join(markdown(json.loads((out / "report.json").read_text())))
    for word in ("swap", "classical", "cosine", "list", "facex, steers the model"):
        assert word in text
        assert word in page


def test_two_reports_side_by_side(
    verdicts: tuple[Path, dict[str, dict[str, dict[str, float]]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = (verdicts[0] / f"{kind}-report" for kind in ("nothing", "paste"))
    found = {d.measure: d for d in differences(read_report(first), read_report(second))}
    assert found["cosine@facex"].verdict == "better"
    assert found["pose_deg"].verdict == "worse"
    assert not any(d.verdict for d in differences(read_report(first), read_report(first)))
    assert run(["evaluate", "compare", str(first), str(second)]) == 0
    assert "better" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target": "nobody"}, "no face 'nobody'"),
        ({"output": "missing.png"}, "no file"),
        ({"source": ""}, "source is empty"),
    ],
)
def test_a_wrong_table_is_one_sentence(
    tmp_path: Path,
    faces: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    words: str,
) -> None:
    path = table(tmp_path / "t", faces, "nothing")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    rows[1] |= change
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["source", "target", "output"])
        writer.writeheader()
        writer.writerows(rows)
    code = run(["evaluate", "external", str(path), str(path.parent), str(faces),
                "-o", str(tmp_path / "out")])  # fmt: skip
    assert code == 2
    error = capsys.readouterr().err.strip()
    assert words in error
    assert "line 3" in error
    assert "\n" not in error
