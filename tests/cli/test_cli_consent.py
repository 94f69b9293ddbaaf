# SPDX-License-Identifier: Apache-2.0
"""The sentence on consent: on a terminal, before the first borrowed face, once a user."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from facex.cli import consent
from facex.cli.main import run

SWAP = ["swap", "other.jpg", "photo.png"]


@pytest.mark.parametrize(
    ("command", "terminal", "said"),
    [
        (SWAP, True, True),
        (["mix", "hair.yaml"], True, True),
        (["pose", "photo.png", "--yaw", "5"], True, False),
        (["reenact", "photo.png", "other.jpg"], True, False),
        ([*SWAP, "--quiet"], True, False),
        (SWAP, False, False),
    ],
)
def test_it_is_said_once_where_a_face_is_borrowed(
    echo: Any, kit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, command: list[str], terminal: bool, said: bool,
) -> None:  # fmt: skip
    terminals = SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: terminal), platform="linux")
    monkeypatch.setattr(consent, "sys", terminals)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(kit)
    (tmp_path / "hair.yaml").write_text(
        f"format_version: 1\nphotos: {{target: {kit}/photo.png, anna: {kit}/other.jpg}}\n"
        "steps: [{hair: anna}]\n"
    )
    words = [str(tmp_path / word) if word == "hair.yaml" else word for word in command]
    for first in (True, False):
        assert run([*words, "-o", str(tmp_path / "x.png")]) == 0
        errors = capsys.readouterr().err
        assert (consent.SENTENCE in errors) == (said and first)
        assert errors.count("\n") == (said and first)
    assert (tmp_path / "state").exists() == said


def test_a_state_folder_that_cannot_be_made_stops_nothing(
    echo: Any, kit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    terminals = SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True), platform="linux")
    monkeypatch.setattr(consent, "sys", terminals)
    monkeypatch.setenv("XDG_STATE_HOME", str(kit / "photo.png"))  # a file
    monkeypatch.chdir(kit)
    assert run([*SWAP, "-o", str(tmp_path / "x.png")]) == 0
    assert consent.SENTENCE in capsys.readouterr().err


def test_the_state_folder_is_where_the_system_keeps_such_things() -> None:
    home = {"HOME": "/home/anna", "XDG_STATE_HOME": "relative"}
    assert consent.state_folder(home, "linux") == Path("/home/anna/.local/state/facex")
    assert consent.state_folder({"XDG_STATE_HOME": "/s"}, "linux") == Path("/s/facex")
    mac = consent.state_folder(home, "darwin")
    assert mac == Path("/home/anna/Library/Application Support/facex")
    assert consent.state_folder({"LOCALAPPDATA": "/local"}, "win32") == Path("/local/facex")
