# SPDX-License-Identifier: Apache-2.0
"""Read prepared faces back, for training: only those that the manifest kept."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from facex.errors import FaceXError, OptionError, OutputError
from facex.ford.representation import FaceRepresentation
from facex.imaging.tensors import to_tensor
from facex.prepare.manifest import CSV_NAME, JSON_NAME
from facex.prepare.shard import (
    FORMAT_VERSION,
    IMAGE_SUFFIXES,
    LATENTS,
    RECORD,
    REPRESENTATION,
    sha256_of,
)


class PreparedFace(NamedTuple):
    """One face.

    Attributes:
        crop: (1, 3, S, S) in [-1, 1].
        representation: batch of one.
        latents: (1, C, h, w) float32 as `Base.encode` gives them, from half precision; None if
            they were not cached.
        record: its record, with the person and the other columns of the manifest.
    """

    crop: Tensor
    representation: FaceRepresentation
    latents: Tensor | None
    record: dict[str, Any]


@dataclass(frozen=True)
class PreparedShards:
    """A prepared folder.

    Attributes:
        folder: with ``manifest.json``.
        manifest: what it says.
    """

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> PreparedShards:
        """Read the manifest.

        Raises:
            OptionError: the folder is not prepared, not to its end, or by a newer version.
        """
        path = Path(folder) / JSON_NAME
        try:
            manifest = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise OptionError(
                f"{folder} holds no finished preparation: run facex prepare to its end"
            ) from error
        if manifest.get("format_version") != FORMAT_VERSION:
            raise OptionError(f"{path} is of another version of facex: prepare the photos again")
        return cls(Path(folder), manifest)

    def __len__(self) -> int:
        """Number of faces."""
        return int(self.manifest["faces"])

    def faces(
        self, *, worker: int = 0, workers: int = 1, seed: int | None = None, check: bool = False
    ) -> Iterator[PreparedFace]:
        """The faces of this worker's shards; together the workers see every face once.

        Args:
            worker: number of this reader, from 0.
            workers: how many readers share the shards, over all processes and machines.
            seed: of the order of the shards, the same for all workers; None: as they lie.
            check: compare each shard with its sha256 first.

        Raises:
            OptionError: the worker's number is out of range.
            OutputError: a shard is missing or damaged.
        """
        if not 0 <= worker < workers:
            raise OptionError(f"worker {worker} of {workers}: count from 0")
        shards = [shard for shard in self.manifest["shards"] if shard["kept"]]
        if seed is not None:
            order = np.random.default_rng(seed).permutation(len(shards))
            shards = [shards[i] for i in order]
        for shard in shards[worker::workers]:
            yield from self.shard(shard, check=check)

    def shard(self, shard: dict[str, Any], *, check: bool = False) -> Iterator[PreparedFace]:
        """The kept faces of one entry of ``manifest["shards"]``, in order; errors as `faces`."""
        path = self.folder / shard["name"]
        try:
            if check and sha256_of(path) != shard["sha256"]:
                raise OutputError(f"{path} is not the file that the manifest lists")
            rows = {row["key"]: row for row in self.rows(shard)}
            with tarfile.open(path, "r:") as tar:
                yield from _faces(tar, rows)
        except (OSError, tarfile.TarError, SafetensorError, ValueError, KeyError) as error:
            raise OutputError(f"{path} is damaged ({error}); prepare it again") from error
        except FaceXError as error:
            raise OutputError(f"{path}: {error}") from error

    def rows(self, shard: dict[str, Any]) -> Iterator[dict[str, str]]:
        """The manifest's rows of an entry of ``manifest["shards"]``: its kept faces, in order."""
        start, size = shard["rows"]
        with (self.folder / CSV_NAME).open("rb") as file:
            file.seek(start)
            text = io.StringIO(file.read(size).decode(), newline="")
        yield from csv.DictReader(text, fieldnames=self.manifest["columns"])


def _faces(tar: tarfile.TarFile, rows: dict[str, dict[str, str]]) -> Iterator[PreparedFace]:
    """Files of one face lie together, the record last."""
    files: dict[str, bytes] = {}
    for member in tar:
        tar.members = []  # type: ignore[attr-defined]  # it would keep every header
        key, dot, suffix = member.name.partition(".")
        content = tar.extractfile(member) if key in rows else None
        if content is None:
            continue
        files[dot + suffix] = content.read()
        if dot + suffix == RECORD:
            yield face_of_files(files, rows[key])
            files = {}


def face_of_files(files: dict[str, bytes], row: dict[str, str]) -> PreparedFace:
    """Decode the files of one face, by suffix, and its row of the manifest."""
    picture = next(files[suffix] for suffix in IMAGE_SUFFIXES if suffix in files)
    latents = None
    if LATENTS in files:
        latents = safetensors.torch.load(files[LATENTS])["latents"].float()[None]
    record = json.loads(files[RECORD])
    return PreparedFace(
        to_tensor(Image.open(io.BytesIO(picture))),
        FaceRepresentation.from_bytes(files[REPRESENTATION]),
        latents,
        {**record, "person": row["person"], "shard": row["shard"]},
    )
