# SPDX-License-Identifier: Apache-2.0
"""What a run keeps on disk, so that a rerun goes on where the last one was stopped.

``run.json`` what was measured · ``pictures/PROTOCOL/SYSTEM/NNNN.png`` · ``readings/*.npz``
· ``records/*.json`` numbers by case. Every file is written in one piece.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from facex.errors import OptionError, OutputError
from facex.evaluate.faces import FaceSet, Pixels, encode_png
from facex.evaluate.judges import Reading
from facex.evaluate.protocols import Case, Protocol, list_hash
from facex.imaging.write import write_bytes_atomic

FORMAT: Final = 1
RUN: Final = "run.json"
PROTOCOL: Final = "protocol "
"""How the keys of what was measured begin."""
PARTS: Final = ("pictures", "readings", "records")


class Store:
    """A folder of results.

    Args:
        folder: made if it does not exist.
        identity: what must not change between runs into one folder (model, faces, code). Keys that
            begin with :data:`PROTOCOL` may be added by a later run, but not change.
        force: forget results of something else in place of refusing.

    Raises:
        OptionError: the folder holds results of something else.
        OutputError: it cannot be written.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str], *, force: bool = False) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder} cannot be made: {error.strerror}") from error
        wanted = {"format": str(FORMAT), **identity}
        path = folder / RUN
        if path.is_file():
            known = _read_json(path)
            new = {key for key in wanted if key.startswith(PROTOCOL) and key not in known}
            changed = [key for key in wanted if key not in new and known.get(key) != wanted[key]]
            if changed and not force:
                raise OptionError(
                    f"{folder} holds results of another {changed[0]} "
                    f"({known.get(changed[0])}, now {wanted[changed[0]]}); choose another folder "
                    "with --out, or --force to forget them"
                )
            if changed:
                for part in PARTS:
                    shutil.rmtree(folder / part, ignore_errors=True)
            else:
                wanted = {**known, **wanted}
        self._write(path, json.dumps(wanted, indent=1).encode())

    def picture_path(self, protocol: str, system: str, key: str) -> Path:
        """Where a picture is, or would be."""
        return self.folder / "pictures" / protocol / system / f"{key}.png"

    def has_picture(self, protocol: str, system: str, key: str) -> bool:
        """Whether it has been made."""
        return self.picture_path(protocol, system, key).is_file()

    def save_picture(self, protocol: str, system: str, key: str, pixels: Pixels) -> None:
        """Keep a picture ``(H, W, 3)`` or ``(H, W)``, without loss."""
        self._write(self.picture_path(protocol, system, key), encode_png(pixels))

    def picture(self, protocol: str, system: str, key: str) -> Pixels:
        """A kept picture."""
        with Image.open(self.picture_path(protocol, system, key)) as image:
            return np.asarray(image)

    def readings(self, name: str) -> dict[str, Reading]:
        """Kept readings by picture; empty if there are none."""
        path = self.folder / "readings" / f"{name}.npz"
        if not path.is_file():
            return {}
        try:
            with np.load(path) as file:
                arrays = {key: file[key] for key in file.files}
        except (OSError, ValueError):
            return {}
        names = arrays.pop("names")
        fields = arrays.items()
        return {str(n): {key: value[i] for key, value in fields} for i, n in enumerate(names)}

    def save_readings(self, name: str, readings: Mapping[str, Reading]) -> None:
        """Keep readings that all have the same fields."""
        if not readings:
            return
        first = next(iter(readings.values()))
        arrays = {key: np.stack([r[key] for r in readings.values()]) for key in first}
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, names=np.array(list(readings)), **arrays)
        self._write(self.folder / "readings" / f"{name}.npz", file.getvalue())

    def records(self, name: str) -> dict[str, dict[str, float]]:
        """Kept numbers by case; empty if there are none."""
        path = self.folder / "records" / f"{name}.json"
        return _read_json(path) if path.is_file() else {}

    def save_records(self, name: str, records: Mapping[str, Mapping[str, float]]) -> None:
        """Keep numbers by case."""
        text = json.dumps(records, separators=(",", ":"))
        self._write(self.folder / "records" / f"{name}.json", text.encode())

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(path, content)


def folder_digest(folder: Path, start: str = "") -> str:
    """Hash of the weights and settings below a folder, 16 hexadecimal digits.

    Args:
        folder: of a model or of a part of one.
        start: what else the hash should depend on.
    """
    digest = hashlib.sha256(start.encode())
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".safetensors", ".json"):
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def identity_of(faces: FaceSet, lists: Iterable[tuple[Protocol, Sequence[Case]]]) -> dict[str, str]:
    """What results depend on beside the model: names, people and pictures of the faces, protocols.

    Args:
        faces: the faces.
        lists: the whole list of every protocol that is measured.
    """
    found = {"faces": faces.digest, "pictures": faces.contents}
    for protocol, cases in lists:
        key = f"{PROTOCOL}{protocol.name}"
        found |= {key: protocol.digest, f"{key} list": list_hash(protocol, cases)}
    return found


@cache
def code_digest() -> str:
    """Hash of the program's own files that pictures depend on, 16 hexadecimal digits.

    The version alone does not tell: a checkout changes without it. Read once, like the code.
    """
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for place in _DRAWING:
        path = package / place
        files = [path] if path.is_file() else [*path.rglob("*.py"), *path.rglob("*.yaml")]
        for file in sorted(files):
            digest.update(file.relative_to(package).as_posix().encode() + b"\n")
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


_DRAWING: Final = (
    "api.py", "beyond.py", "editing.py", "framing.py", "ground.py", "locate.py", "references.py",
    "types.py", "imaging", "ford", "geometry", "recipes", "fors", "frc", "models",
    "train/codes.py", "train/samples.py", "train/style/filters.py", "evaluate/baselines.py",
    "evaluate/editor.py", "evaluate/masks.py",
)  # fmt: skip
"""Files and folders of the package by which :func:`code_digest` goes."""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"{path} cannot be read ({error}); delete it") from error
    if not isinstance(data, dict):
        raise OptionError(f"{path} is not a file of facex evaluate; choose another folder")
    return data
