# SPDX-License-Identifier: Apache-2.0
"""docs/train-your-own.md, run: its own commands, with fewer steps and a tiny checkpoint."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch
from PIL import Image

from facex.ford.sd15 import ArcFaceNet, BiSeNet, D3DFRNet, L2CSNet
from facex.models.convert import KINDS
from facex.models.folder import read_index
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


def started(words: list[str], folder: Path) -> subprocess.Popen[str]:
    """Start a command of the guide in a folder that looks like the checkout."""
    start = {
        "facex": ["-m", "facex"],
        "python": [],
        "accelerate": ["-m", "accelerate.commands.accelerate_cli"],
    }
    command = [sys.executable, *start[words[0]], *words[1:]]
    # The checkout stands in front of an installed copy, and one thread is enough.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
    output = folder / "output.txt"
    with output.open("w") as file:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT, text=True
        )


def execute(words: list[str], folder: Path) -> None:
    """Run a command to its end, which must be a good one."""
    code = started(words, folder).wait()
    said = (folder / "output.txt").read_text()
    assert code == 0, f"{shlex.join(words)}\n{said[-4000:]}"


def serve(words: list[str], folder: Path) -> None:
    """Run a server until it has answered once, and end it as Ctrl-C does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = [{"8765": port, "cuda": "cpu"}.get(word, word) for word in words]
    server = started(words, folder)
    try:
        while server.poll() is None:
            try:
                url = f"http://127.0.0.1:{port}/api/v1/health"
                with urllib.request.urlopen(url, timeout=60) as answer:
                    assert json.load(answer)
                break
            except OSError:  # not yet
                time.sleep(0.2)
        assert server.poll() is None, (folder / "output.txt").read_text()[-4000:]
        server.send_signal(signal.SIGINT)
        assert server.wait(60) in (0, 130)
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def place(tmp_path: Path, astronaut: Image.Image, hopper: Image.Image) -> Path:
    """A checkout with two photos."""
    (tmp_path / "facex").symlink_to(ROOT / "facex")
    (tmp_path / "photos").mkdir()
    # At its own size her face is left out as too small.
    astronaut.resize((1024, 1024)).save(tmp_path / "photos" / "a.png")
    hopper.save(tmp_path / "photos" / "b.png")
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_mini_from_photos_to_a_server(place: Path) -> None:
    for given in commands("Mini"):
        words = ["2" if word in ("4096", "8192") else word for word in given]
        if "evaluate" in words:
            continue  # other tests run it; here its options are checked
        if "serve" in words:
            serve(words, place)
            continue
        execute([*words, *TINY_STEP] if words[1] == "train" else words, place)
    assert read_index(place / "my-mini").licence == "own photos, with consent"
    with Image.open(place / "swapped.png") as swapped, Image.open(place / "photos/b.png") as target:
        assert swapped.size == target.size


def bring(place: Path) -> None:
    """What a user of the sd15 way brings: a base, CLIP, and checkpoints as they are published."""
    model = tiny.make_tiny_sd15_folder(place / "models" / "sd15")
    for part in ("arcface", "bisenet", "d3dfr", "l2cs", "region_adapter"):
        shutil.rmtree(model / "ford" / part)
    downloads = place / "downloads"
    downloads.mkdir()
    nets = {
        "arcface.pth": lambda: ArcFaceNet(**KINDS["arcface_r50"].config),
        "bisenet.pth": BiSeNet, "d3dfr.pth": D3DFRNet, "l2cs.pkl": L2CSNet,
    }  # fmt: skip
    for name, build in nets.items():
        with tiny.seeded():
            state = tiny.calm(build()).state_dict()
        torch.save({"net_recon": state} if name == "d3dfr.pth" else state, downloads / name)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_sd15_from_photos_to_a_server(place: Path) -> None:
    bring(place)
    checkpoint = "runs/sd15/step-00000001"
    for given in commands("sd15"):
        words = [word.replace("runs/sd15/step-00070000", checkpoint) for word in given]
        if "serve" in words:
            serve(words, place)
        elif "facex.train.sd15.start" in words:
            execute([*words, "--crop-size", "128"], place)
        elif words[0] == "accelerate":
            words = [word.replace("ddp-8", "ddp-1") for word in words]
            words.insert(words.index("launch") + 1, "--cpu")
            execute([*words, *TINY_STEP, "--set", "tokens_width=16", "--set", "spatial_width=8",
                     "--set", "mixed_precision=no"], place)  # fmt: skip
        else:
            execute(words, place)
    assert read_index(place / checkpoint / "model").scale == "sd15"
    with Image.open(place / "swapped.png") as swapped, Image.open(place / "photos/b.png") as target:
        assert swapped.size == target.size


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
