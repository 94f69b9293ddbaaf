# SPDX-License-Identifier: Apache-2.0
"""Training rows that are made once and kept: pictures as bytes, everything else beside them.

A shard is ``NNNNNNN/pictures.npy`` (n, ...) uint8 and ``NNNNNNN/rows.npz``. It appears whole or not
at all, so that several processes may write into one folder, each from a first number of its own,
while a training reads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Row = Mapping[str, Any]
"""One row: ``pictures`` uint8 and whatever else, each an array or a number."""

SHARD: Final = 64
"""Rows of a shard."""


def write_shards(folder: Path, first: int, count: int, make: Callable[[int], Row]) -> None:
    """Make the rows from ``first`` on and write them; shards that are there are left alone."""
    for start in range(first, first + count, SHARD):
        end = min(start + SHARD, first + count)
        if not (folder / _name(start)).exists():
            write_shard(folder, start, [make(number) for number in range(start, end)])


def write_shard(folder: Path, first: int, rows: Sequence[Row]) -> None:
    """Write rows in one piece."""
    place = folder / _name(first)
    fresh = place.with_suffix(".new")
    fresh.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]
    }
    np.save(fresh / "pictures.npy", values.pop("pictures"))
    np.savez(fresh / "rows.npz", **values)
    os.replace(fresh, place)


class Shards:
    """The rows of a folder of shards; :meth:`refresh` finds those written since.

    Args:
        folder: of :func:`write_shards`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: dict[str, tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]] = {}
        self._places: list[tuple[str, int]] = []
        self.refresh()

    def __len__(self) -> int:
        return len(self._places)

    def refresh(self) -> None:
        """Open new shards."""
        for place in sorted(self.folder.glob("*/rows.npz")):
            name = place.parent.name
            if name in self._shards or place.parent.suffix:
                continue
            with np.load(place) as file:
                rows = {key: file[key] for key in file.files}
            pictures = np.load(place.parent / "pictures.npy", mmap_mode="r")
            self._shards[name] = pictures, rows
            self._places += [(name, row) for row in range(len(pictures))]

    def pictures(self, number: int) -> NDArray[np.uint8]:
        """Pictures of a row, as they were stored."""
        name, row = self._places[number]
        return np.asarray(self._shards[name][0][row])

    def value(self, key: str, number: int) -> Any:
        """Another value of a row."""
        name, row = self._places[number]
        return self._shards[name][1][key][row]

    def values(self, key: str, numbers: Sequence[int] | NDArray[np.integer] | None = None) -> Any:
        """That value of several rows, of all by default, ``(n, ...)``."""
        if numbers is None:
            return np.concatenate([rows[key] for _, rows in self._shards.values()])
        return np.stack([self.value(key, int(number)) for number in numbers])


def pack(parts: Mapping[str, Tensor], channels: Mapping[str, int]) -> NDArray[np.uint8]:
    """Pictures in [-1, 1] and masks in [0, 1], ``(C, S, S)`` each, as one array of bytes.

    Args:
        parts: by name.
        channels: how many each has, in the order in which they are stored; one is a mask.
    """
    whole = torch.cat([parts[n] * 2 - 1 if c == 1 else parts[n] for n, c in channels.items()])
    return ((whole.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()


def unpack(pictures: NDArray[np.uint8], channels: Mapping[str, int]) -> dict[str, Tensor]:
    """The parts of ``(..., C, S, S)`` bytes; the inverse of :func:`pack`, to half a level."""
    # A copy, as stored arrays are read-only.
    whole = torch.from_numpy(np.array(pictures)).float() / 127.5 - 1
    parts = zip(channels.items(), whole.split(list(channels.values()), -3), strict=True)
    return {name: part / 2 + 0.5 if count == 1 else part for (name, count), part in parts}


def _name(first: int) -> str:
    return f"{first:07d}"
