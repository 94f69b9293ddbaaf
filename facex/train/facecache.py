# SPDX-License-Identifier: Apache-2.0
"""Faces and their labels on disk, as the trainers read them.

A cache folder holds ``faces.npy`` (N, 256, 256, 3) uint8, ``names.npy``, ``landmarks.npz``
(``points`` (N, 478, 3) in crop pixels, ``blendshapes`` (N, 52)), ``identity.npz``, ``gaze.npz`` and
``parsing/NAME.png`` (255 = unsure). ``facex.train.make_cache`` writes it from photos and teachers.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FaceCache:
    """Memory-mapped faces with the rows of their index.

    Attributes:
        folder: where the cache is.
        faces: ``(N, 256, 256, 3)`` uint8, memory mapped.
        names: ``(N,)``.
        rows: index row of each face, as a dict of strings.
        points: ``(N, 478, 3)`` landmarks in pixels.
        blendshapes: ``(N, 52)`` in [0, 1].
    """

    folder: Path
    faces: NDArray[np.uint8]
    names: NDArray[np.str_]
    rows: list[dict[str, str]]
    points: NDArray[np.float32]
    blendshapes: NDArray[np.float32]

    @classmethod
    def open(cls, folder: str | Path, index_csv: str | Path) -> FaceCache:
        """Open a cache folder; ``index_csv`` gives split, person and terms of every face."""
        folder = Path(folder)
        names = np.load(folder / "names.npy")
        with open(index_csv, newline="") as file:
            by_name = {row["name"]: row for row in csv.DictReader(file)}
        labels = np.load(folder / "landmarks.npz")
        if not np.array_equal(labels["names"], names):
            raise ValueError("landmarks.npz does not belong to names.npy; make the cache again")
        return cls(
            folder,
            np.load(folder / "faces.npy", mmap_mode="r"),
            names,
            [by_name[str(name)] for name in names],
            labels["points"].astype(np.float32),
            labels["blendshapes"].astype(np.float32),
        )

    def select(self, split: str, terms: str | None = None) -> NDArray[np.int64]:
        """Indices of the faces of a split, optionally of one kind of terms only."""
        return np.array(
            [
                i
                for i, row in enumerate(self.rows)
                if row["split"] == split and terms in (None, row["terms"])
            ]
        )

    def embeddings(self, key: str = "edgeface") -> NDArray[np.float32]:
        """Teacher embeddings ``(N, D)`` of ``identity.npz``."""
        values: NDArray[np.float32] = np.load(self.folder / "identity.npz")[key].astype(np.float32)
        return values
