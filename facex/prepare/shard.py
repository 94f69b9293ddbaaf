# SPDX-License-Identifier: Apache-2.0
"""A shard on disk: a tar of faces, their identity vectors, and the summary that finishes it.

The summary is renamed into place last, so a shard that has one is whole. The tar holds for each
face, in webdataset layout, ``KEY.png`` (or ``.webp``), ``KEY.json``, ``KEY.safetensors`` and
``KEY.latents.safetensors``; the same faces give the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facex.errors import OutputError
from facex.imaging.write import write_bytes_atomic

FORMAT_VERSION: Final = 1
FOLDER: Final = "shards"

IMAGE_SUFFIXES: Final = (".png", ".webp")
REPRESENTATION: Final = ".safetensors"
LATENTS: Final = ".latents.safetensors"
RECORD: Final = ".json"

Summary = dict[str, Any]


class ShardFiles:
    """Where a shard lies.

    Args:
        out: folder of the whole preparation.
        number: of the shard.
    """

    def __init__(self, out: str | Path, number: int) -> None:
        self.name = f"faces-{number:06d}"
        folder = Path(out) / FOLDER
        self.tar = folder / f"{self.name}.tar"
        self.vectors = folder / f"{self.name}.identity.npy"
        self.summary = folder / f"{self.name}.json"

    def read(self, digest: str | None = None) -> Summary | None:
        """The summary of a finished shard, or None.

        Args:
            digest: of the job and the options; a shard of others counts as not done.
        """
        try:
            found: Summary = json.loads(self.summary.read_bytes())
            whole = self.tar.stat().st_size == found["bytes"] and self.vectors.is_file()
        except (OSError, ValueError, KeyError):
            return None
        return found if whole and digest in (None, found.get("digest")) else None

    def finish(self, summary: Summary, vectors: NDArray[np.float16]) -> None:
        """Write the vectors (N, E), then the summary that makes the shard a finished one."""
        buffer = io.BytesIO()
        np.save(buffer, vectors)
        write_bytes_atomic(self.vectors, buffer.getvalue())
        write_bytes_atomic(self.summary, to_json(summary))


class ShardWriter:
    """Adds files to a tar with nothing of this machine or hour in it."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.count = 0

    def add(self, name: str, data: bytes) -> None:
        """Add one file."""
        entry = tarfile.TarInfo(name)  # mtime, uid and gid 0, mode 644, no names
        entry.size = len(data)
        self._tar.addfile(entry, io.BytesIO(data))
        self._tar.members = []  # type: ignore[attr-defined]  # it would keep every header
        self.count += 1


@contextlib.contextmanager
def writing(path: Path) -> Iterator[ShardWriter]:
    """Write a tar through a temporary file, renamed when the block ends without an error.

    Raises:
        OutputError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        with open(temporary, "xb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                yield ShardWriter(tar)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Hex digest of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_json(value: Any) -> bytes:
    """The one spelling of a value: sorted keys, one line."""
    return (json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n").encode()


def with_sorted_metadata(data: bytes) -> bytes:
    """A safetensors file with the entries of its metadata in alphabetical order.

    The library writes them in an order that differs from process to process.
    """
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def clean(out: Path) -> None:
    """Remove what a killed run left half written."""
    for path in (out / FOLDER).glob(".*.part"):
        with contextlib.suppress(OSError):
            path.unlink()
