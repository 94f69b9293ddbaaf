# SPDX-License-Identifier: Apache-2.0
"""Near-duplicates: of faces that are the same picture the best stays.

Two faces are the same picture if their perceptual hashes differ in few bits and the identity does
not say that they are different people, or if their identities are more alike than two photos of a
person ever are. Faces are taken best first, and a face is dropped if it is a near-duplicate of
one that was kept, so no chain of small differences swallows a whole film.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from facex.prepare.neighbours import Indices, Vectors, cells, rows_of

_ROWS = 1_024


def same_photos(
    hashes: NDArray[np.uint64], vectors: Vectors, order: Indices, bits: int, least: float
) -> NDArray[np.bool_]:
    """Which faces repeat the picture of a better one, by perceptual hash.

    Args:
        hashes: (N,) 64 bits.
        vectors: (N, E) identities.
        order: (N,) indices, best first.
        bits: hashes that differ in at most so many are of one picture.
        least: cosine that two faces of one picture have at least.

    Returns:
        (N,) true where a face is dropped.
    """
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    dropped = np.zeros(len(hashes), bool)
    for bucket in _buckets(hashes, bits):
        kept, count = np.empty(len(bucket), np.int64), 0
        for face in bucket[np.argsort(rank[bucket])]:
            if dropped[face]:
                continue
            near = kept[:count]
            near = near[np.bitwise_count(hashes[near] ^ hashes[face]) <= bits]
            if len(near) and _cosines(vectors, near, face).max() >= least:
                dropped[face] = True
            else:
                kept[count], count = face, count + 1
    return dropped


def _cosines(vectors: Vectors, faces: Indices, face: np.int64) -> NDArray[np.float32]:
    return rows_of(vectors, faces) @ rows_of(vectors, np.array([face]))[0]


def _buckets(hashes: NDArray[np.uint64], bits: int) -> Iterator[Indices]:
    """Groups in which each two hashes that differ in at most ``bits`` bits meet at least once.

    Of ``bits + 1`` pieces of a hash one must be equal (the pigeonhole principle).
    """
    edges = np.linspace(0, 64, bits + 2).astype(int)
    for low, high in pairwise(edges):
        mask = (1 << int(high - low)) - 1
        piece = (hashes >> np.uint64(low)) & np.uint64(mask)
        order = np.argsort(piece, kind="stable")
        starts = np.flatnonzero(np.diff(piece[order])) + 1
        yield from (group for group in np.split(order, starts) if len(group) > 1)


def same_faces(vectors: Vectors, order: Indices, least: float) -> NDArray[np.bool_]:
    """Which faces repeat a better one, by identity.

    Args:
        vectors: (N, E) identities.
        order: indices of the faces that count, best first.
        least: cosine from which on two faces are one picture.

    Returns:
        (N,) true where a face is dropped.
    """
    dropped = np.zeros(len(vectors), bool)
    rank = np.full(len(vectors), -1, np.int64)
    rank[order] = np.arange(len(order))
    for cell in cells(vectors, np.sort(order)):
        _drop_in_cell(vectors, cell[np.argsort(rank[cell])], least, dropped)
    return dropped


def _drop_in_cell(
    vectors: Vectors, cell: Indices, least: float, dropped: NDArray[np.bool_]
) -> None:
    """Go through a cell best first and drop what repeats one that was kept before."""
    kept, count = np.empty(len(cell), np.int64), 0
    for begin in range(0, len(cell), _ROWS):
        block = cell[begin : begin + _ROWS]
        values, alike = rows_of(vectors, block), dropped[block]
        for start in range(0, count, _ROWS):
            better = rows_of(vectors, kept[start : min(start + _ROWS, count)])
            alike |= (values @ better.T >= least).any(1)
        among = values @ values.T >= least
        for row in range(len(block)):
            if not alike[row]:
                alike[row + 1 :] |= among[row, row + 1 :]
        dropped[block[alike]] = True
        new = block[~alike]
        kept[count : count + len(new)] = new
        count += len(new)
