# SPDX-License-Identifier: Apache-2.0
"""Who is who: faces of one person, by the cosine of their identities.

Each face is linked to its nearest neighbours, and Chinese whispers (Biemann 2006, dlib) finds the
groups: unlike joining whatever is linked it does not run two people together for one wrong link.
"""

from __future__ import annotations

import dlib
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from facex.prepare.neighbours import Indices, Vectors, cells, similar_pairs

Small = NDArray[np.int32]
"""Indices, of which there may be many."""

_ROWS = 4_096
_LINKS = 16
"""Nearest neighbours that a face is linked to; memory grows with this, not with the photos of a
person."""


def cluster_people(
    vectors: Vectors, members: Indices, least: float, *, exact: int | None = None
) -> NDArray[np.int64]:
    """Group faces by person.

    Args:
        vectors: (N, E) identities.
        members: indices of the faces that count.
        least: cosine from which on two faces may be of one person.
        exact: up to this many faces all pairs are compared; None: the usual number.

    Returns:
        (N,) the lowest index of the same person's faces; -1 for faces that do not count.
    """
    if len(members) == 0:
        return np.full(len(vectors), -1, np.int64)
    limit = {} if exact is None else {"exact": exact}
    links = _Links(len(vectors))
    for cell in cells(vectors, members, **limit):
        for first, second, cosine in similar_pairs(vectors, cell, least):
            links.add(first, second, cosine)
    one, other, weight = links.pairs()
    people = np.full(len(vectors), -1, np.int64)
    people[members] = members
    graph = coo_matrix((np.ones(len(one), np.int8), (one, other)), (len(vectors),) * 2)
    _, component = connected_components(graph, directed=False)
    # whispers need Python lists: one connected part of the graph at a time keeps them short
    order = np.argsort(component[one], kind="stable")
    ends = np.cumsum(np.bincount(component[one])) if len(one) else np.zeros(0, int)
    begin = 0
    for end in ends.tolist():
        if end > begin:
            part = order[begin:end]
            _whisper(one[part], other[part], weight[part], people)
            begin = end
    return people


def _whisper(
    first: Small, second: Small, cosine: NDArray[np.float16], people: NDArray[np.int64]
) -> None:
    faces, local = np.unique(np.concatenate([first, second]), return_inverse=True)
    half = len(first)
    edges = list(zip(local[:half].tolist(), local[half:].tolist(), cosine.tolist(), strict=True))
    labels = np.array(dlib.chinese_whispers(edges))
    for label in np.unique(labels):
        group = faces[labels == label]
        people[group] = group.min()


class _Links:
    """The best few links of each face, of any number that are offered."""

    def __init__(self, count: int) -> None:
        self._other = np.full((count, _LINKS), -1, np.int32)
        self._cosine = np.full((count, _LINKS), -2, np.float16)

    def add(self, first: Indices, second: Indices, cosine: NDArray[np.float32]) -> None:
        """Offer links both ways."""
        if len(first) == 0:
            return
        here, there = np.concatenate([first, second]), np.concatenate([second, first])
        value = np.concatenate([cosine, cosine])
        order = np.lexsort((there, -value, here))
        here, there, value = here[order], there[order], value[order]
        starts = np.flatnonzero(np.diff(here, prepend=-1))
        place = np.arange(len(here)) - np.repeat(starts, np.diff(starts, append=len(here)))
        best = place < _LINKS
        here, there, value, place = here[best], there[best], value[best], place[best]
        faces = np.unique(here)
        row = np.searchsorted(faces, here)
        others = np.full((len(faces), _LINKS), -1, np.int32)
        values = np.full((len(faces), _LINKS), -2, np.float16)
        others[row, place], values[row, place] = there, value
        others = np.concatenate([self._other[faces], others], 1)
        values = np.concatenate([self._cosine[faces], values], 1)
        # a pair that two cells share is offered twice: the second one must not push others out
        again = (others[:, :_LINKS, None] == others[:, None, _LINKS:]).any(1)
        values[:, _LINKS:][again] = -2
        chosen = np.argsort(-values.astype(np.float32), axis=1, kind="stable")[:, :_LINKS]
        self._other[faces] = np.take_along_axis(others, chosen, 1)
        self._cosine[faces] = np.take_along_axis(values, chosen, 1)

    def pairs(self) -> tuple[Small, Small, NDArray[np.float16]]:
        """Every link once: two indices and the cosine."""
        ends: list[Small] = []
        others: list[Small] = []
        cosines: list[NDArray[np.float16]] = []
        for begin in range(0, len(self._other), _ROWS):
            other, cosine = self._other[begin : begin + _ROWS], self._cosine[begin : begin + _ROWS]
            face = np.arange(begin, begin + len(other), dtype=np.int32)[:, None]
            # a link that both ends have is the lower one's
            twice = (other < face) & (self._other[other] == face[..., None]).any(-1)
            row, place = np.nonzero((cosine > -2) & ~twice)
            ends.append(face[row, 0])
            others.append(other[row, place])
            cosines.append(cosine[row, place])
        return np.concatenate(ends), np.concatenate(others), np.concatenate(cosines)
