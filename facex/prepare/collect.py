# SPDX-License-Identifier: Apache-2.0
"""What the pass over all shards must know of each face, in some bytes a face.

Records are read shard by shard and forgotten; hashes and qualities are kept in arrays, identity
vectors in one file that is mapped into memory.
"""

from __future__ import annotations

import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facex.errors import OutputError
from facex.prepare.neighbours import Indices, Vectors
from facex.prepare.shard import ShardFiles, Summary

NAMED_FAILURES = 1000
"""Failed photos that the report names; the shards' summaries name all."""


@dataclass
class Totals:
    """Sums over shards.

    Attributes:
        photos: that were looked at.
        found: faces that the detector saw.
        bytes: of all tars.
        dropped: photos and faces by reason.
        timings: seconds by stage.
        failed: number of photos that could not be read.
        failures: the first of them, with the reason.
        shards: that were read.
    """

    photos: int = 0
    found: int = 0
    bytes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    timings: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)
    shards: int = 0

    def add(self, summary: Summary) -> None:
        """Count a shard."""
        self.photos += summary["photos"]
        self.found += summary["found"]
        self.bytes += summary["bytes"]
        self.dropped.update(summary["dropped"])
        self.timings.update(summary["timings"])
        self.failed += len(summary["failures"])
        self.failures += summary["failures"][: NAMED_FAILURES - len(self.failures)]
        self.shards += 1


class Faces:
    """All faces of some shards, in order.

    Args:
        out: folder of the preparation.
        numbers: of the finished shards.
    """

    def __init__(self, out: Path, numbers: Sequence[int]) -> None:
        self.out, self.numbers = out, numbers
        self.totals = Totals()
        self.columns: dict[str, None] = {}
        self.names: list[str] = []
        self._file = tempfile.TemporaryFile(dir=out)  # noqa: SIM115 (closed by `close`)
        hashes, quality, person = array("Q"), array("f"), array("l")
        codes: dict[str, int] = {}
        self.about: tuple[int, str] | None = None
        width = 0
        for summary in self.summaries():
            self.totals.add(summary)
            width = self._copy(summary, width)
            for record in summary["faces"]:
                hashes.append(int(record["phash"], 16))
                values = record["quality"]
                # Beyond the crop's own size more pixels are no better: then the sharper one is.
                quality.append(2 * min(values["size"], 1.0) + min(values["sharpness"], 1.0))
                given = record["person"]
                person.append(codes.setdefault(given, len(codes)) if given else -1)
                self.columns.update(dict.fromkeys(record["columns"]))
        self.names = list(codes)
        self.hashes: NDArray[np.uint64] = np.array(hashes, np.uint64)
        self.quality: NDArray[np.float32] = np.array(quality, np.float32)
        self.person: NDArray[np.int64] = np.array(person, np.int64)
        self._file.flush()
        shape = (len(self), width)
        self.vectors: Vectors = np.zeros(shape, np.float16)
        if len(self):
            self.vectors = np.memmap(self._file, np.float16, "r", shape=shape)

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def order(self) -> Indices:
        """Indices, best face first."""
        return np.argsort(-self.quality, kind="stable")

    def summaries(self) -> Iterator[Summary]:
        """The summaries of all shards, one in memory at a time.

        Raises:
            OutputError: a shard has gone since the run began.
        """
        for number in self.numbers:
            summary = ShardFiles(self.out, number).read()
            if summary is None:
                raise OutputError(f"shard {number} in {self.out} has gone; run prepare again")
            yield summary

    def close(self) -> None:
        """Give the temporary file back."""
        self.vectors = np.zeros((0, 0), np.float16)
        self._file.close()

    def _copy(self, summary: Summary, width: int) -> int:
        """Append a shard's vectors to the one file; all shards must be of one model."""
        about = (summary["crop_size"], summary["extractors"])
        path = self.out / "shards" / f"{summary['name']}.identity.npy"
        try:
            vectors: NDArray[Any] = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise OutputError(f"{path} is damaged; delete it and run prepare again") from error
        if len(vectors) != len(summary["faces"]) or self.about not in (None, about):
            raise OutputError(f"{path} does not fit the other shards; delete it and run again")
        self.about = about
        if len(vectors) == 0:
            return width
        self._file.write(np.ascontiguousarray(vectors, np.float16).tobytes())
        return int(vectors.shape[1])
