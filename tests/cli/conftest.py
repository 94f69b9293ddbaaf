# SPDX-License-Identifier: Apache-2.0
"""The real command in a subprocess, a kit of good and bad files, and an editor that echoes."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[2]


def clean_environment(**extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FACEX_")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "80", **extra}


@pytest.fixture(scope="session")
def facex() -> Run:
    def run(*words: object, cwd: Path | None = None, **environment: str) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "facex", *map(str, words)],
            cwd=cwd,
            env=clean_environment(**environment),
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def bomb_png() -> bytes:
    """A valid header of 25,000 x 25,000 pixels with a few bytes behind it."""
    header = struct.pack(">IIBBBBB", 25_000, 25_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


RECIPES = {
    "empty": "",
    "tab": "format_version: 1\nsteps:\n\t- identity: target\n",
    "key": "format_version: 1\nphotos: {target: photo.png}\nsteps:\n  - identiy: target\n",
    "newer": "format_version: 99\nphotos: {target: photo.png}\nsteps: [{}]\n",
    "gone": "format_version: 1\nphotos: {target: gone.png}\nsteps: [{}]\n",
    "unnamed": "format_version: 1\nphotos: {target: photo.png}\nsteps: [{hair: anna}]\n",
    "nosteps": "format_version: 1\nphotos: {target: photo.png}\n",
    "notarget": "format_version: 1\nsteps: [{}]\n",
    "list": "- one\n- two\n",
    "value": "format_version: 1\nphotos: {target: photo.png}\nsteps: [{kappa: 7}]\n",
    "good": "format_version: 1\nphotos: {target: photo.png}\nsteps: [{pose: {yaw: 5}}]\n",
}


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good and bad inputs; tests only read them."""
    folder = tmp_path_factory.mktemp("kit")
    noise = np.random.default_rng(0).integers(0, 256, (80, 64, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    picture.save(folder / "photo.png")
    picture.save(folder / "other.jpg")
    picture.resize((256, 256)).save(folder / "noface.png")
    (folder / "cut.jpg").write_bytes((folder / "other.jpg").read_bytes()[:1500])
    (folder / "cut.png").write_bytes((folder / "photo.png").read_bytes()[:5000])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "bomb.png").write_bytes(bomb_png())
    Image.new("RGB", (1, 1)).save(folder / "one.png")
    Image.new("L", (64, 80), 255).save(folder / "mask.png")
    Image.new("L", (200, 80), 255).save(folder / "wide.png")
    for name in ("void", "three", "masks", "twins", "model"):
        (folder / name).mkdir()
    for name in ("a.png", "b.png", "c.jpg"):
        picture.save(folder / "three" / name)
    picture.save(folder / "twins" / "photo.png")
    picture.save(folder / "masks" / "unrelated.png")
    (folder / "model" / "facex_index.json").write_text("{ this is no JSON")
    (folder / "face.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    for name, text in RECIPES.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "binary.yaml").write_bytes(bytes(range(256)))
    return folder


class Echo:
    """An editor that turns a picture's colours around, so that tests see what it was given."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.error: BaseException | None = None

    def edit(self, target: Any, recipe: Any, **given: Any) -> Any:
        from facex.result import Result

        self.calls.append({"target": target, "recipe": recipe, **given})
        given["progress"](1, 2, "echo")
        if self.error is not None:
            raise self.error
        return Result(
            image=Image.fromarray(255 - target.array),
            mask=np.ones(target.array.shape[:2], np.float32),
            recipe=recipe,
            photo=target,
            crops=[{"reference": target.image, "output": target.image}],
            timings={"echo": 0.5},
            marked=False,
        )


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Echo:
    """The editor that the command line will use in this process, in place of a model."""
    from facex.cli import edit

    try:
        import facex.api  # noqa: F401
    except ImportError:
        from types import SimpleNamespace

        stub = ModuleType("facex.api")
        stub.EditOptions = SimpleNamespace  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "facex.api", stub)
    editor = Echo()
    monkeypatch.setattr(edit, "load_model", lambda settings: editor)
    for name in list(os.environ):
        if name.startswith("FACEX_"):
            monkeypatch.delenv(name)
    return editor
