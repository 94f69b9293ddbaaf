# SPDX-License-Identifier: Apache-2.0
"""Wrong commands, numbers and indexes of ``facex prepare`` end with one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("imagehash")

from facex.errors import FaceXError, OptionError
from facex.models.hub import BUNDLED
from facex.prepare.index import Index
from facex.prepare.options import MergeOptions, PrepareOptions
from facex.prepare.read import PreparedShards
from facex.prepare.run import Engine


def test_an_index_must_not_be_ambiguous(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("file,consent\na.jpg,yes\na.jpg,no\n")
    with pytest.raises(OptionError, match="comes twice"):
        Index.open(tmp_path / "index.csv")
    index = Index({"a.jpg": {"consent": "yes"}})
    assert index.take("one/a.jpg") == {"consent": "yes"}
    with pytest.raises(OptionError, match="fits both"):
        index.take("two/a.jpg")
    (tmp_path / "no.csv").write_text("licence\nPD\n")
    with pytest.raises(OptionError, match="which photo"):
        Index.open(tmp_path / "no.csv")


def test_wrong_numbers_are_refused() -> None:
    for wrong in ({"face": "best"}, {"crops": "jpg"}):
        with pytest.raises(OptionError):
            PrepareOptions("x", str(BUNDLED), **wrong)
    with pytest.raises(OptionError):
        MergeOptions(same_face=2)
    with pytest.raises(OptionError, match="--address"):
        Engine(address="here")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere", "-o", "out"], "does not exist"),
        ([".", "-o", "out"], "would be taken for photos"),
        (["a.png", "-o", "no/such/out"], "does not exist"),
        (["a.png", "-o", "out", "--engine", "spark"], "use local or ray"),
        (["a.png", "-o", "out", "--same-face", "3"], "same_face must be"),
        (["a.png", "-o", "out", "--index", "gone.csv"], "cannot be read"),
        (["a.png", "-o", "out", "--model", "."], "no FaceX model"),
    ],
)
def test_wrong_commands_end_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, words: list[str], sentence: str
) -> None:
    from facex.cli.main import run as command

    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (200, 200)).save("a.png")
    assert command(["prepare", *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.startswith("facex: ")
    assert said.count("\n") == 1
    assert not Path("out").exists()


def test_errors_are_ours() -> None:
    with pytest.raises(FaceXError):
        PreparedShards.open("nowhere")
