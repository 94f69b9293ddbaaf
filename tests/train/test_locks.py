# SPDX-License-Identifier: Apache-2.0
"""Locks that a label calls skin are found by their colour; all else stays what it was called."""

from __future__ import annotations

import numpy as np

from facex.train.locks import without_locks
from facex.train.relabel import UNSURE
from facex.types import PARSING_CLASSES
from tests.fors import made_up

SIZE = 256
SKIN, HAIR = (PARSING_CLASSES.index(name) for name in ("skin", "hair"))


def face() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A pale face under dark hair, its labels and landmarks."""
    points = made_up.landmarks(size=SIZE)
    label = made_up.parsing(points, SIZE)
    grain = np.random.default_rng(0).normal(0, 2, (SIZE, SIZE, 1))
    image = np.full((SIZE, SIZE, 3), (214.0, 168.0, 150.0))
    image[label == HAIR] = (58, 40, 30)
    image[label == 0] = (90, 120, 160)
    return (image + grain).clip(0, 255).astype(np.uint8), label, points


def test_a_lock_called_skin_is_hair_and_nothing_else_changes() -> None:
    image, label, points = face()
    rows, columns = np.where(label == SKIN)
    middle = (rows.min() + rows.max()) // 2
    near = (label == SKIN) & (np.arange(SIZE) < columns.min() + 14)
    lock = near & (np.arange(SIZE)[:, None] < middle)
    assert lock.sum() > 200
    image[lock] = (58, 40, 30)
    found = without_locks(image, label, points)
    assert (found[lock] == HAIR).mean() > 0.9
    far = (label == SKIN) & (np.arange(SIZE) > columns.min() + 24)
    np.testing.assert_array_equal(found[far], label[far])
    np.testing.assert_array_equal(found[label != SKIN], label[label != SKIN])


def test_a_face_without_locks_keeps_its_label() -> None:
    image, label, points = face()
    found = without_locks(image, label, points)
    assert ((found == HAIR) & (label != HAIR)).sum() == 0
    assert (found == UNSURE).mean() < 0.01
