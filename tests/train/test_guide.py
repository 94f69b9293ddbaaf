# SPDX-License-Identifier: Apache-2.0
"""docs/train-your-own.md, run: its own commands, with fewer steps and a tiny checkpoint."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from facex.models.folder import INDEX_NAME, read_index
from facex.models.hub import BUNDLED
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "train-your-own.md").read_text(encoding="utf-8")
TINY_STEP = ["--set", "max_steps=1", "--set", "batch_size=1", "--set", "workers=0"]


def commands(part: str) -> list[list[str]]:
    """The shell commands of a section, in order, without installations."""
    (section,) = re.findall(rf"^## {part}.*?\n(.*?)(?=^## )", GUIDE, re.DOTALL | re.MULTILINE)
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if "pip install" not in line]


def execute(words: list[str], folder: Path) -> None:
    """Run a command of the guide in a folder that looks like the checkout."""
    start = {
        "facex": ["-m", "facex.cli.main"],
        "python": [],
        "accelerate": ["-m", "accelerate.commands.accelerate_cli"],
    }
    command = [sys.executable, *start[words[0]], *words[1:]]
    # The checkout stands in front of an installed copy, and one thread is enough.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (
        f"{shlex.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    )


@pytest.fixture
def place(tmp_path: Path, astronaut: Image.Image, hopper: Image.Image) -> Path:
    """A checkout with two photos."""
    (tmp_path / "facex").symlink_to(ROOT / "facex")
    (tmp_path / "photos").mkdir()
    astronaut.save(tmp_path / "photos" / "a.png")
    hopper.save(tmp_path / "photos" / "b.png")
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_mini_from_photos_to_a_swap(place: Path) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    (place / "to_cache.py").write_text(script, encoding="utf-8")
    for words in commands("Mini"):
        if "evaluate" in words or "serve" in words:
            continue  # other tests run them; here their options are checked
        if words[1] == "train":
            words = [*words, *TINY_STEP]
        execute(words, place)
    assert read_index(place / "my-mini").licence == "own photos, with consent"
    with Image.open(place / "swapped.png") as swapped, Image.open(place / "photos/b.png") as target:
        assert swapped.size == target.size


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sd15_from_photos_to_a_checkpoint(place: Path) -> None:
    model = tiny.make_tiny_sd15_folder(place / "models" / "sd15")
    for part in ("motion", "shape_model"):
        shutil.copytree(BUNDLED / "ford" / part, model / "ford" / part)
    shutil.rmtree(model / "ford" / "region_adapter")
    with tiny.seeded():  # of the tiny widths; the starter would make the real ones
        tiny.tiny_adapter().save_pretrained(model / "ford" / "region_adapter")
    index = {"name": "tiny", "scale": "sd15", "crop_size": 128, "licence": "none: random weights"}
    (model / INDEX_NAME).write_text(json.dumps(index), encoding="utf-8")
    for words in commands("sd15"):
        if words[:2] in (["facex", "prepare"], ["facex", "train"]):
            execute(words, place)
        elif words[0] == "accelerate":
            words = [word.replace("ddp-8", "ddp-1") for word in words]
            words.insert(words.index("launch") + 1, "--cpu")
            execute([*words, *TINY_STEP, "--set", "tokens_width=16", "--set", "spatial_width=8",
                     "--set", "mixed_precision=no"], place)  # fmt: skip
    assert read_index(place / "runs" / "sd15" / "step-00000001" / "model").scale == "sd15"


def test_every_command_of_the_guide_exists() -> None:
    """Names and options, also of those that are not run."""
    from typer.main import get_command

    from facex.cli.main import build_app

    app = get_command(build_app())
    found = [*commands("Mini"), *commands("sd15")]
    assert len(found) >= 12
    for words in found:
        if words[0] != "facex":
            continue
        command, rest = app, words[1:]
        while hasattr(command, "commands"):
            assert rest[0] in command.commands, words
            command, rest = command.commands[rest[0]], rest[1:]
        known = {name for parameter in command.params for name in parameter.opts}
        assert {w for w in rest if w.startswith("-") and len(w) > 1} <= known, words
    for path in re.findall(r"facex/[a-z0-9_/-]+\.yaml", GUIDE):
        assert (ROOT / path).is_file(), path
    for module in re.findall(r"python -m (facex\S+)", GUIDE):
        assert (ROOT / Path(*module.strip("`").split("."))).with_suffix(".py").is_file(), module
