# SPDX-License-Identifier: Apache-2.0
"""Which face sample number n is: a pure function of the seed and n.

Neither the number of processes nor a restart changes it: process r of W takes, in each micro-step,
its own B of the next W x B numbers, and a run that goes on begins at the number it had come to.
Faces of a few shards are mixed with one another, so that a machine reads few files at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Place(NamedTuple):
    """Where a sample's face lies.

    Attributes:
        epoch: how often all faces were seen before.
        group: the shards (numbers in the manifest's order) that are mixed at this time.
        row: of the face within the group, shard by shard.
    """

    epoch: int
    group: tuple[int, ...]
    row: int


class FaceOrder:
    """The order of all faces, epoch after epoch.

    Args:
        sizes: faces of each shard.
        seed: of the order.
        mixed: shards that are mixed with one another.
    """

    def __init__(self, sizes: Sequence[int], seed: int, mixed: int) -> None:
        self.sizes = np.asarray(sizes, np.int64)
        self.seed, self.mixed = seed, mixed
        self.total = int(self.sizes.sum())
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)
        self._rows = lru_cache(maxsize=2)(self._make_rows)

    def place(self, number: int) -> Place:
        """The face of sample ``number`` (from 0)."""
        epoch, position = divmod(number, self.total)
        shards, ends = self._epoch(epoch)
        index = int(np.searchsorted(ends, position, side="right"))
        start = int(ends[index - 1]) if index else 0
        group = tuple(int(s) for s in shards[index * self.mixed : (index + 1) * self.mixed])
        return Place(epoch, group, int(self._rows(epoch, index, group)[position - start]))

    def _make_epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        shards = np.random.default_rng([self.seed, epoch]).permutation(len(self.sizes))
        firsts = np.arange(0, len(shards), self.mixed)
        return shards, np.cumsum(np.add.reduceat(self.sizes[shards], firsts))

    def _make_rows(self, epoch: int, index: int, group: tuple[int, ...]) -> NDArray[np.int64]:
        count = int(self.sizes[list(group)].sum())
        return np.random.default_rng([self.seed, epoch, index + 1]).permutation(count)


class Batches:
    """Sample numbers of one process, batch by batch, without end.

    Args:
        batch_size: for each process and micro-step.
        rank: of this process.
        world: number of processes.
        first: micro-step to begin with.
    """

    def __init__(self, batch_size: int, rank: int, world: int, first: int) -> None:
        self.batch_size, self.rank, self.world, self.first = batch_size, rank, world, first

    def __iter__(self) -> Iterator[list[int]]:
        step = self.first
        while True:
            start = (step * self.world + self.rank) * self.batch_size
            yield list(range(start, start + self.batch_size))
            step += 1
