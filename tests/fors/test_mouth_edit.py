# SPDX-License-Identifier: Apache-2.0
"""Teeth keep their size when a mouth is opened wider, a shut one gets some, others stay."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from facex.fors.guess import open_mouth
from facex.fors.mouth_edit import ShownMouth, close_lips, keep_teeth, lend_teeth
from facex.geometry.mouth import mouth_mask
from facex.geometry.topology import LIPS_INNER
from tests.fors import made_up

SIZE = 256


def opened(gap: float) -> NDArray[np.float64]:
    """The mean face with a mouth that is ``gap`` of its width open; the upper lip stays."""
    points = made_up.landmarks(size=SIZE)
    ring = points[list(LIPS_INNER)]
    half = len(ring) // 2
    width = abs(ring[half, 0] - ring[0, 0])
    across = (ring[:, 0] - ring[0, 0]) / (ring[half, 0] - ring[0, 0])
    ring[:, 1] = ring[0, 1]
    ring[half + 1 :, 1] += (gap * width * np.sin(np.pi * across))[half + 1 :]
    points[list(LIPS_INNER)] = ring
    return points


def striped(points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Skin, and between the lips rows of two colours that change every three pixels."""
    image = np.full((SIZE, SIZE, 3), (0.8, 0.6, 0.5), np.float32)
    rows = (np.arange(SIZE) // 3 % 2)[:, None, None] * np.ones((1, SIZE, 3), np.float32)
    inside = mouth_mask(points, SIZE)[..., None]
    return np.asarray(image + (rows - image) * inside, np.float32)


def test_teeth_are_not_stretched_and_the_rest_is_a_guess() -> None:
    before, after = opened(0.25), opened(0.6)
    photo, known = striped(before), np.ones((SIZE, SIZE), np.float32)
    grey = np.full_like(photo, 0.7)
    found, trust = keep_teeth(grey, known, known, photo, before, after)
    ring = before[list(LIPS_INNER)]
    x = round(float(ring[len(ring) // 4, 0]))
    top, middle = (round(float(v)) for v in (ring[0, 1], ring[:, 1].max()))
    rows = slice(top + 4, middle - 4)
    assert np.abs(found[rows, x] - photo[rows, x]).mean() < 0.1
    bottom = round(float(after[list(LIPS_INNER), 1].max()))
    assert trust[middle + 4 : bottom - 3, x] == pytest.approx(0.5, abs=0.05)
    outside = mouth_mask(after, SIZE) == 0
    assert np.array_equal(found[outside], grey[outside])


@pytest.mark.parametrize(("before", "after"), [(0.25, 0.25), (0.5, 0.2), (0.02, 0.4)])
def test_mouths_that_open_no_wider_or_were_shut_are_left_alone(before: float, after: float) -> None:
    photo = striped(opened(before))
    known = np.ones((SIZE, SIZE), np.float32)
    found, _ = keep_teeth(photo, known, known, photo, opened(before), opened(after))
    assert found is photo


def lent(
    own: float, theirs: float, after: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """A grey mouth, the lender's striped one, and what the first becomes."""
    grey, known = np.full((SIZE, SIZE, 3), 0.7, np.float32), np.ones((SIZE, SIZE), np.float32)
    shut = ShownMouth(grey, opened(own))
    lender = ShownMouth(striped(opened(theirs)), opened(theirs))
    return grey, lender.pixels, lend_teeth(grey, known, shut, lender, opened(after))[0]


@pytest.mark.parametrize("own", [0.0, 0.1])
def test_a_mouth_whose_photo_shows_it_shut_or_smaller_gets_the_lenders_teeth(own: float) -> None:
    grey, lender, found = lent(own, 0.3, 0.3)
    ring = opened(0.3)[list(LIPS_INNER)]
    x, rows = round(float(ring[len(ring) // 4, 0])), slice(int(ring[0, 1]) + 2, int(ring[0, 1]) + 8)
    assert np.abs(found[rows, x] - lender[rows, x]).mean() < 0.15
    outside = mouth_mask(opened(0.3), SIZE) == 0
    assert np.array_equal(found[outside], grey[outside])


@pytest.mark.parametrize(
    ("own", "theirs", "after"), [(0.3, 0.3, 0.3), (0.0, 0.3, 0.0), (0.0, 0.02, 0.3)]
)
def test_nothing_is_lent_without_need_or_means(own: float, theirs: float, after: float) -> None:
    grey, _, found = lent(own, theirs, after)
    assert found is grey


def test_lips_that_a_smile_held_apart_are_told_apart_when_shut() -> None:
    lips = np.full((SIZE, SIZE, 3), 0.6, np.float32)
    shut = opened(0.0)
    found = close_lips(lips, opened(0.3), shut)
    ring = shut[list(LIPS_INNER)]
    x, y = (round(float(v)) for v in ring[len(ring) // 4, :2])
    assert found[y, x].max() < 0.4
    assert np.array_equal(found[y + 12 :], lips[y + 12 :])
    for before, after in ((0.0, 0.0), (0.3, 0.3)):
        assert close_lips(lips, opened(before), opened(after)) is lips


@pytest.mark.parametrize("gap", [0.07, 0.35])
def test_a_torn_slit_is_dark_all_along_and_a_torn_mouth_has_teeth(gap: float) -> None:
    points = opened(gap)
    image = np.full((SIZE, SIZE, 3), (0.8, 0.6, 0.5), np.float32)
    inside = mouth_mask(points, SIZE)
    # Half of what is between the lips is torn, and lip is drawn out over the rest.
    torn = np.arange(SIZE)[None] < points[list(LIPS_INNER), 0].mean()
    image[inside > 0] = (0.7, 0.2, 0.2)
    known = np.asarray(1 - inside * torn, np.float32)
    skin, edit = 1 - inside, np.ones_like(known)
    drawn, _ = open_mouth(image, known, edit, skin, points)
    sure = inside > 0.99
    light = drawn[..., 1][sure]
    assert (light.max() > 0.4) == (gap > 0.3)
    if gap < 0.3:
        assert drawn[sure].mean() < 0.25
