# SPDX-License-Identifier: Apache-2.0
"""The last pass: near-duplicates, people, and the manifest of what is left.

``manifest.csv`` has a row for each kept face, shard by shard; ``manifest.json`` lists the shards
with their sha256, and where in the CSV their rows are, so that a reader of one shard needs no
other rows.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facex.imaging.write import write_bytes_atomic
from facex.prepare.collect import Faces
from facex.prepare.duplicates import same_faces, same_photos
from facex.prepare.index import CARRIED
from facex.prepare.options import MergeOptions
from facex.prepare.people import cluster_people
from facex.prepare.quality import Reason
from facex.prepare.shard import FOLDER, FORMAT_VERSION, to_json
from facex.timing import timed

CSV_NAME: Final = "manifest.csv"
JSON_NAME: Final = "manifest.json"

QUALITY: Final = ("score", "size", "sharpness", "yaw", "pitch", "outside", "hidden")
COLUMNS: Final = ("key", "shard", "file", *CARRIED, *QUALITY, "phash")
"""The manifest's own columns, in order; those of the user's index follow."""


@dataclass(frozen=True)
class Verdicts:
    """What the pass found.

    Attributes:
        kept: (N,) bool.
        dropped: number of faces by reason.
        names: person of each face, for kept ones.
        people: number of people.
        largest: faces of the person with most.
        timings: seconds by stage.
    """

    kept: NDArray[np.bool_]
    dropped: Counter[str]
    names: People
    people: int
    largest: int
    timings: dict[str, float]


class People:
    """Names of people by face, without a text for each face in memory.

    Args:
        cluster: (N,) number of the cluster, -1 for faces that are not kept.
        given: (N,) index into ``names`` of the person that the user named, or -1.
        names: given names.
    """

    def __init__(
        self, cluster: NDArray[np.int64], given: NDArray[np.int64], names: list[str]
    ) -> None:
        self._cluster, self._given, self._names = cluster, given, names
        # Faces that nobody named belong to the named person of their cluster, if it is only one.
        named = (given >= 0) & (cluster >= 0)
        pairs = np.unique(np.stack([cluster[named], given[named]]), axis=1)
        clusters, counts = np.unique(pairs[0], return_counts=True)
        sure = np.isin(pairs[0], clusters[counts == 1])
        self._owner = dict(zip(pairs[0][sure].tolist(), pairs[1][sure].tolist(), strict=True))

    def __getitem__(self, face: int) -> str:
        given, cluster = int(self._given[face]), int(self._cluster[face])
        if given < 0:
            given = self._owner.get(cluster, -1)
        return self._names[given] if given >= 0 else f"cluster-{cluster:07d}"


def judge(faces: Faces, options: MergeOptions) -> Verdicts:
    """Find near-duplicates and people among all faces."""
    timings: dict[str, float] = {}
    order, vectors = faces.order, faces.vectors
    with timed(timings, "same photo"):
        by_hash = same_photos(faces.hashes, vectors, order, options.same_photo, options.same_person)
    with timed(timings, "same face"):
        by_identity = same_faces(vectors, order[~by_hash[order]], options.same_face)
    kept = ~(by_hash | by_identity)
    dropped: Counter[str] = Counter()
    for reason, which in ((Reason.SAME_PHOTO, by_hash), (Reason.SAME_FACE, by_identity)):
        if which.any():
            dropped[str(reason)] = int(which.sum())
    with timed(timings, "people"):
        first = cluster_people(vectors, np.flatnonzero(kept), options.same_person)
        numbers = np.full(len(faces), -1, np.int64)
        _, numbers[kept] = np.unique(first[kept], return_inverse=True)
        names = People(numbers, faces.person, faces.names)
    count = Counter(names[face] for face in np.flatnonzero(kept).tolist())
    return Verdicts(kept, dropped, names, len(count), max(count.values(), default=0), timings)


def write_manifest(faces: Faces, verdicts: Verdicts, about: dict[str, Any]) -> None:
    """Write ``manifest.csv``, then ``manifest.json``, each in one piece.

    Args:
        faces: of all shards.
        verdicts: which are kept, and who they are.
        about: what else the JSON says: model, options.

    Raises:
        OutputError: they cannot be written.
    """
    others = [name for name in faces.columns if name not in COLUMNS]
    shards, size = [], 0
    temporary = faces.out / f".{CSV_NAME}.part"
    try:
        with temporary.open("wb") as file:
            size += file.write(_line([*COLUMNS, *others]))
            for summary, rows in _rows(faces, verdicts, others):
                lines = b"".join(rows)
                shards.append(
                    {
                        "name": f"{FOLDER}/{summary['name']}.tar",
                        "sha256": summary["sha256"],
                        "bytes": summary["bytes"],
                        "faces": len(summary["faces"]),
                        "kept": len(rows),
                        "rows": [size, len(lines)],
                    }
                )
                size += file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, faces.out / CSV_NAME)
    finally:
        temporary.unlink(missing_ok=True)
    crop_size, extractors = faces.about or (0, "")
    data = {
        "format_version": FORMAT_VERSION,
        "crop_size": crop_size,
        "extractors": extractors,
        "faces": int(verdicts.kept.sum()),
        "people": verdicts.people,
        "columns": [*COLUMNS, *others],
        **about,
        "shards": shards,
    }
    write_bytes_atomic(faces.out / JSON_NAME, to_json(data))


def _rows(
    faces: Faces, verdicts: Verdicts, others: list[str]
) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
    """Each shard's summary and its lines of the CSV."""
    face = 0
    for summary in faces.summaries():
        rows = []
        for record in summary["faces"]:
            if verdicts.kept[face]:
                values = {
                    **record,
                    **record["quality"],
                    "shard": summary["name"],
                    "person": verdicts.names[face],
                }
                extra = record["columns"]
                rows.append(
                    _line([values[n] for n in COLUMNS] + [extra.get(n, "") for n in others])
                )
            face += 1
        yield summary, rows


def _line(values: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()
