# SPDX-License-Identifier: Apache-2.0
"""Glasses of one face on another: before its eyes, whatever the place of both in their pictures."""

from __future__ import annotations

import numpy as np
import pytest

from facex.geometry.topology import EYES
from facex.train.spectacles import GLASSES, are_clear, put_on
from tests.fors import made_up
from tests.fors.made_up import SIZE


def frames(points: np.ndarray, label: np.ndarray, *, dark: bool = False) -> np.ndarray:
    """A label map with a rectangle around each eye, filled if dark."""
    label = label.copy()
    for ring in EYES:
        (x0, y0), (x1, y1) = points[list(ring), :2].min(0) - 5, points[list(ring), :2].max(0) + 5
        box = np.s_[round(y0) : round(y1), round(x0) : round(x1)]
        inside = label[box].copy()
        label[box] = GLASSES
        if not dark:
            label[box][3:-3, 3:-3] = inside[3:-3, 3:-3]
    return label


def test_dark_glasses_show_no_eyes_to_read() -> None:
    points = made_up.landmarks(size=2 * SIZE)
    bare = made_up.parsing(points, 2 * SIZE)
    assert not are_clear(bare, points)
    assert are_clear(frames(points, bare), points)
    assert not are_clear(frames(points, bare, dark=True), points)


@pytest.mark.parametrize("roll", [0.0, 20.0])
def test_frames_come_to_lie_around_the_eyes_and_elsewhere_nothing_changes(roll: float) -> None:
    size = 2 * SIZE
    donor_points, points = made_up.landmarks(size=size), made_up.landmarks(roll=roll, size=size)
    label = frames(donor_points, made_up.parsing(donor_points, size))
    donor = np.full((size, size, 3), 200, np.uint8)
    donor[label == GLASSES] = (0, 0, 255)
    face = np.full((size, size, 3), 120, np.uint8)
    worn = put_on(face, points, donor, label, donor_points, np.random.default_rng(0))
    blue = (worn[..., 2].astype(int) - worn[..., 0]) > 100
    assert blue.sum() == pytest.approx((label == GLASSES).sum(), rel=0.25)
    middles = [points[list(ring), :2].mean(0) for ring in EYES]
    rows, columns = np.nonzero(blue)
    assert np.hypot(*(np.mean(middles, 0) - (columns.mean(), rows.mean()))) < 8
    near = np.zeros((size, size), bool)
    for middle in middles:
        away = np.hypot(*np.moveaxis(np.indices((size, size))[::-1].T - middle, -1, 0)).T
        near |= away < 0.2 * size
    np.testing.assert_array_equal(worn[~near], face[~near])
