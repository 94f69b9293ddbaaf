# SPDX-License-Identifier: Apache-2.0
"""The filters that personalised bases learn from."""

from __future__ import annotations

import numpy as np
import pytest

from facex.evaluate.metrics.style import filtered
from facex.train.style.filters import FILTERS


def scene(side: int) -> np.ndarray:
    """A dark disc on a light ground, with grain."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    disc = (np.hypot(x, y) < 0.3).astype(np.float32)
    grain = np.random.default_rng(0).normal(0, 0.02, (side, side, 1))
    colour = np.array([0.8, 0.6, 0.5]) - disc[..., None] * np.array([0.5, 0.35, 0.2])
    return np.clip(colour + grain, 0, 1).astype(np.float32)


@pytest.mark.parametrize("style", FILTERS)
def test_a_filter_flattens_grain_and_keeps_the_outline(style: str) -> None:
    photo = scene(128)
    drawn = FILTERS[style](photo)
    assert drawn.shape == photo.shape
    assert drawn.dtype == np.float32
    assert 0 <= drawn.min() <= drawn.max() <= 1
    ground = (slice(4, 24), slice(4, 24))
    fine = [np.abs(np.diff(image[ground], axis=1)).mean() for image in (drawn, photo)]
    assert fine[0] < 0.5 * fine[1]
    profile = drawn[64].mean(1)
    assert abs(int(np.abs(np.diff(profile[:64])).argmax()) - 25) <= 4


@pytest.mark.parametrize("style", FILTERS)
def test_a_filter_looks_the_same_at_every_size(style: str) -> None:
    small, large = FILTERS[style](scene(96)), FILTERS[style](scene(288))
    pooled = large.reshape(96, 3, 96, 3, 3).mean((1, 3))
    assert np.abs(small - pooled).mean() < 0.06


def test_pencil_is_grey_and_comic_is_stronger_in_colour() -> None:
    photo = (scene(96) * 255).astype(np.uint8)

    def spread(image: np.ndarray) -> float:
        return float(np.ptp(image.astype(float), axis=2).mean())

    assert spread(filtered("pencil", photo)) < 0.3 * spread(photo)
    assert spread(filtered("comic", photo)) > 1.1 * spread(photo)
