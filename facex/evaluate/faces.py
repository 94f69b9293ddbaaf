# SPDX-License-Identifier: Apache-2.0
"""A folder of aligned faces: pictures, or tar shards, with an optional ``index.csv``."""

from __future__ import annotations

import csv
import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facex.errors import ImageRejected, OptionError
from facex.imaging.read import read_photo

Pixels = NDArray[np.uint8]

INDEX: Final = "index.csv"
_WHOLE: Final = 1 << 20
"""Bytes up to which a picture is hashed whole; of a larger one, both ends of ``_END`` bytes."""
_END: Final = 1 << 16
_KEPT: Final = 256
"""Pictures that stay decoded: several systems, metrics and protocols ask for the same."""
SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class _Place:
    """Where the bytes of a face lie: a file, or a part of a tar shard."""

    path: Path
    offset: int = 0
    size: int | None = None

    @property
    def length(self) -> int:
        """Length of the picture's file."""
        try:
            return self.path.stat().st_size if self.size is None else self.size
        except OSError as error:
            raise ImageRejected(f"{self.path} cannot be read: {error.strerror}") from error

    def read(self, start: int, count: int) -> bytes:
        """A part of the picture's file."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset + start)
                return file.read(count)
        except OSError as error:
            raise ImageRejected(f"{self.path} cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class FaceSet:
    """The faces that protocols draw from.

    Attributes:
        folder: where they are.
        names: all names, sorted; pair lists are made of them.
        rows: row of ``index.csv`` by name; empty rows without one.
        side: side in pixels to which every face is brought.
    """

    folder: Path
    names: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]
    side: int = 256
    _places: dict[str, _Place] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, folder: str | Path, *, split: str = "dev", side: int = 256) -> FaceSet:
        """Find the faces of a folder.

        Args:
            folder: pictures (their names without suffix are the faces' names), or tar shards named
                in the column ``shard`` of ``index.csv``. Faces are aligned as FFHQ does.
            split: only rows with this value in the column ``split``, where there is that column;
                ``all`` takes everything.
            side: side in pixels at which faces are handed out.

        Raises:
            OptionError: there are no faces, or the index does not fit them.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise OptionError(f"there is no folder {folder} with faces")
        rows = _read_index(folder / INDEX)
        if split != "all":
            rows = {n: r for n, r in rows.items() if r.get("split", split) == split}
            if not rows and (folder / INDEX).is_file():
                raise OptionError(f"{folder / INDEX} has no row of split {split!r}")
        shards = sorted({row["shard"] for row in rows.values() if row.get("shard")})
        places = _in_shards(folder, shards) if shards else _in_files(folder)
        names = sorted(places if not rows else rows.keys() & places.keys())
        if len(names) < 2:
            raise OptionError(f"{folder} holds {len(names)} faces; at least two are needed")
        known = {name: rows.get(name, {}) for name in names}
        return cls(folder, tuple(names), known, side, places)

    def person(self, name: str) -> str:
        """Who a face shows; without an index every face is somebody else."""
        return self.rows[name].get("person") or name

    @property
    def digest(self) -> str:
        """Hash of the names and people, 16 hexadecimal digits: what pair lists depend on."""
        text = "\n".join(f"{name},{self.person(name)}" for name in self.names)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def contents(self) -> str:
        """Hash of the pictures, 16 hexadecimal digits.

        Of files above a megabyte, the size and both ends count, so that large sets stay quick.

        Raises:
            ImageRejected: a file cannot be read.
        """
        digest = hashlib.sha256(f"{self.side}".encode())
        for name in self.names:
            place = self._places[name]
            parts = [(0, place.length)]
            if place.length > _WHOLE:
                parts = [(0, _END), (place.length - _END, _END)]
            digest.update(f"{name},{place.length}\n".encode())
            for start, count in parts:
                digest.update(place.read(start, count))
        return digest.hexdigest()[:16]

    def image(self, name: str) -> Pixels:
        """The picture ``(side, side, 3)`` uint8, not to be written into.

        Raises:
            ImageRejected: the file is no picture, or not square: not aligned.
        """
        return _picture(self._places[name], self.side, name)


@lru_cache(maxsize=_KEPT)
def _picture(place: _Place, side: int, name: str) -> Pixels:
    photo = read_photo(place.read(0, place.length))
    width, height = photo.size
    if abs(width - height) > 1:
        raise ImageRejected(
            f"{name} is {width} x {height}, but aligned faces are square; "
            "align the photos first (facex prepare)"
        )
    image = photo.image
    if width != side:
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    pixels = np.asarray(image)
    pixels.flags.writeable = False
    return pixels


def _read_index(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if "name" not in (reader.fieldnames or ()):
                raise OptionError(f"{path} has no column 'name'")
            return {row["name"]: row for row in reader}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"{path} cannot be read: {error}") from error


def _in_files(folder: Path) -> dict[str, _Place]:
    return {
        path.stem: _Place(path)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES and path.is_file()
    }


def _in_shards(folder: Path, shards: list[str]) -> dict[str, _Place]:
    places = {}
    for shard in shards:
        try:
            with tarfile.open(folder / shard) as tar:
                for member in tar:
                    if member.isfile():
                        name = Path(member.name).stem
                        places[name] = _Place(folder / shard, member.offset_data, member.size)
        except (OSError, tarfile.TarError) as error:
            raise OptionError(f"shard {folder / shard} cannot be read: {error}") from error
    return places


def encode_png(pixels: Pixels) -> bytes:
    """A picture as PNG, fast rather than small."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
