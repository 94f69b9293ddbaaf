# SPDX-License-Identifier: Apache-2.0
"""Near-duplicates and people among vectors whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from facex.prepare.duplicates import same_faces, same_photos
from facex.prepare.manifest import People
from facex.prepare.neighbours import cells, similar_pairs
from facex.prepare.people import cluster_people


def people(
    count: int, photos: int, noise: float = 0.4
) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Vectors of ``photos`` photos of each person: cosine 0.86 within, 0 between people."""
    rng = np.random.default_rng(0)
    person = rng.permutation(np.repeat(np.arange(count), photos))
    vectors = rng.normal(size=(count, 128))[person] + noise * rng.normal(size=(len(person), 128))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16), person


def pairs(
    vectors: NDArray[np.float16], groups: list[NDArray[np.int64]], least: float
) -> set[tuple[int, int]]:
    return {
        (min(i, j), max(i, j))
        for group in groups
        for first, second, _ in similar_pairs(vectors, group, least)
        for i, j in zip(first.tolist(), second.tolist(), strict=True)
    }


def test_pairs_are_those_of_the_whole_matrix() -> None:
    vectors, _ = people(300, 5)
    cosine = vectors.astype(np.float32) @ vectors.astype(np.float32).T
    first, second = np.nonzero(np.triu(cosine >= 0.8, 1))
    found = pairs(vectors, cells(vectors), 0.8)
    truth = set(zip(first.tolist(), second.tolist(), strict=True))
    assert len(found ^ truth) <= 0.002 * len(truth)  # float16 vectors are made unit length again


def test_cells_lose_few_pairs() -> None:
    vectors, _ = people(400, 5)
    groups = cells(vectors, exact=200)
    assert len(groups) > 5
    everything = pairs(vectors, [np.arange(len(vectors))], 0.8)
    assert len(pairs(vectors, groups, 0.8)) > 0.9 * len(everything)
    assert all((np.diff(group) > 0).all() for group in groups)


@pytest.mark.parametrize("exact", [None, 150])
def test_people_are_found(exact: int | None) -> None:
    vectors, person = people(100, 5)
    members = np.arange(10, len(vectors))
    found = cluster_people(vectors, members, 0.75, exact=exact)
    assert (found[:10] == -1).all()
    together = found[members, None] == found[None, members]
    truth = person[members, None] == person[None, members]
    assert (together & ~truth).sum() == 0
    assert (together & truth).sum() > (0.98 if exact is None else 0.9) * truth.sum()


def test_one_wrong_link_does_not_join_two_people() -> None:
    rng = np.random.default_rng(0)
    one, two = np.eye(128)[:2]
    vectors = np.stack([one + 0.03 * rng.normal(size=128) for _ in range(8)])
    vectors = np.concatenate(
        [vectors, np.stack([two + 0.03 * rng.normal(size=128) for _ in range(8)])]
    )
    vectors = np.concatenate([vectors, (0.8 * one + 0.6 * two)[None]])  # like both
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = cluster_people(vectors.astype(np.float16), np.arange(17), 0.5)
    assert len(set(found[:8].tolist())) == len(set(found[8:16].tolist())) == 1
    assert found[0] != found[8]


@pytest.mark.parametrize("bits", [0, 3, 6])
def test_same_photos_are_those_of_all_pairs(bits: int) -> None:
    rng = np.random.default_rng(1)
    hashes = rng.integers(2**63, size=300, dtype=np.uint64)
    for i in range(1, 300, 3):  # copies with 0 to 8 bits turned
        turned = rng.choice(64, i % 9, replace=False)
        hashes[i] = hashes[i - 1] ^ np.uint64(sum(1 << int(bit) for bit in turned))
    vectors = np.ones((300, 4), np.float16)
    order = rng.permutation(300)
    dropped = same_photos(hashes, vectors, order, bits, 0.9)
    kept: list[int] = []
    for face in order:
        if any(int(hashes[face] ^ hashes[other]).bit_count() <= bits for other in kept):
            assert dropped[face]
        else:
            assert not dropped[face]
            kept.append(int(face))


def test_one_hash_of_two_people_is_no_duplicate() -> None:
    hashes = np.zeros(3, np.uint64)
    vectors = np.array([[1, 0], [0, 1], [1, 0.01]], np.float16)
    assert same_photos(hashes, vectors, np.array([2, 1, 0]), 4, 0.75).tolist() == [
        True,
        False,
        False,
    ]


def test_the_best_of_a_film_stays_and_the_chain_does_not_swallow_it() -> None:
    angle = np.linspace(0, np.pi / 2, 2000)  # one slow turn: neighbours are always alike
    vectors = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float16)
    order = np.random.default_rng(0).permutation(len(vectors))
    dropped = same_faces(vectors, order, 0.99)
    kept = np.sort(angle[~dropped])
    assert not dropped[order[0]]
    assert (np.diff(kept) > 0.13).all()  # arccos 0.99 is 0.141
    assert len(kept) >= 6
    reach = np.abs(angle[:, None] - kept[None]).min(1)
    assert reach.max() < 0.15


def test_a_named_person_gives_the_name_to_the_cluster_unless_two_do() -> None:
    cluster = np.array([0, 0, 1, 1, 1, -1, 2])
    given = np.array([0, -1, 0, 1, -1, 1, -1])
    names = People(cluster, given, ["Ada", "Bob"])
    assert [names[i] for i in (0, 1, 2, 3, 4, 6)] == [
        "Ada", "Ada", "Ada", "Bob", "cluster-0000001", "cluster-0000002",
    ]  # fmt: skip
