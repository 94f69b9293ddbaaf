# SPDX-License-Identifier: Apache-2.0
"""Drawings enlarged along their photo."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facex.imaging.detail import enlarge_along


@pytest.fixture
def photo() -> np.ndarray:
    random = np.random.default_rng(0)
    edges = (np.indices((128, 128)).sum(0) // 24 % 2).astype(np.float32)
    grain = random.normal(0, 0.03, (128, 128)).astype(np.float32)
    return np.clip(0.25 + 0.5 * edges + grain, 0, 1)[..., None].repeat(3, 2).astype(np.float32)


def small(photo: np.ndarray) -> np.ndarray:
    return cv2.resize(photo, (32, 32), interpolation=cv2.INTER_AREA)


def test_a_drawing_that_is_the_photo_becomes_the_photo_at_its_edges(photo: np.ndarray) -> None:
    plain = cv2.resize(small(photo), (128, 128), interpolation=cv2.INTER_CUBIC)
    grown = enlarge_along(small(photo), small(photo), photo)
    assert np.abs(grown - photo).mean() < 0.4 * np.abs(plain - photo).mean()


def test_a_flat_drawing_stays_flat(photo: np.ndarray) -> None:
    flat = np.full((32, 32, 3), 0.6, np.float32)
    np.testing.assert_allclose(enlarge_along(flat, small(photo), photo), 0.6, atol=1e-5)


def test_a_negative_has_the_photos_edges_the_other_way_round(photo: np.ndarray) -> None:
    grown = enlarge_along(1 - small(photo), small(photo), photo)
    assert np.corrcoef(grown.ravel(), photo.ravel())[0, 1] < -0.97


def test_of_the_same_size_nothing_is_done(photo: np.ndarray) -> None:
    assert enlarge_along(photo, photo, photo) is photo
