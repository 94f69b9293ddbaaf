# SPDX-License-Identifier: Apache-2.0
"""--help of every command, and that nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

import facex as package
from facex.cli.main import build_app, run
from facex.recipes.tasks import task_table
from tests.cli.conftest import ROOT, clean_environment

HEAVY = {"torch", "diffusers", "cv2", "scipy", "numpy", "PIL", "transformers", "rich"}


def commands():
    found = []

    def walk(command, words):
        for name, child in getattr(command, "commands", {}).items():
            found.append([*words, name])
            walk(child, [*words, name])

    walk(typer.main.get_command(build_app()), [])
    return found


def imported(*words):
    """Top-level packages that a run of the command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "facex", *words],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return done, {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}


def test_help_imports_nothing_heavy():
    done, packages = imported("--help")
    assert done.returncode == 0
    assert "typer" in packages
    assert not packages & HEAVY


@pytest.mark.parametrize("words", [["pose", "--help"], ["pose", "x.jpg"], ["swap", "--yaw"]])
def test_usage_errors_import_nothing_heavy(words):
    _, packages = imported(*words)
    assert not packages & HEAVY


def test_checks_of_paths_do_not_import_torch(tmp_path):
    done, packages = imported("pose", "none.png", "--yaw", "1", "-o", str(tmp_path / "x.png"))
    assert done.returncode == 2
    assert not packages & {"torch", "diffusers", "cv2"}


def test_there_is_a_command_for_every_row_and_no_empty_promise():
    names = {words[0] for words in commands()}
    assert set(task_table()) <= names
    assert "video" not in names


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_explains_itself(words, capsys):
    assert run([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: facex {' '.join(words)}")
    assert not set(text) & set("│╭╰─")


def test_help_in_a_subprocess(facex):
    done = facex("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for name, row in task_table().items():
        assert name in done.stdout
        assert row.help.split(".")[0][:30] in done.stdout


def test_no_arguments_show_the_help(capsys):
    assert run([]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"facex {package.__version__}\n"


def test_nothing_here_names_a_task():
    for path in (Path(package.__file__).parent / "cli").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        for name in task_table():
            assert f'"{name}"' not in text, f"{path.name} names {name}"


def test_the_page_of_help_is_fresh():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "write_help.py", "--check"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_the_list_of_weights(capsys):
    assert run(["models"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:3] == ["name", "scale", "present"]
    assert run(["models", "list", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(table) - 1
