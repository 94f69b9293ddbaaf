# SPDX-License-Identifier: Apache-2.0
"""Lids that an edit shuts are skin with a line of lashes, and eyes that stay open stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from facex.fors.lids import shut_lids
from facex.geometry.drive import combine
from facex.geometry.lids import BANDS, lid_outline, mean_lids
from facex.geometry.sliders import Sliders
from facex.geometry.topology import EYES, LIPS_OUTER
from tests.fors import made_up

SIZE = 256
SKIN = (0.8, 0.6, 0.5)


def blinked(amount: float) -> NDArray[np.float64]:
    face = made_up.geometry(size=SIZE)
    values = dict.fromkeys(("eyeBlinkLeft", "eyeBlinkRight"), amount)
    return combine(face, sliders=Sliders(expression=values)).landmarks[0].double().numpy()


def smeared() -> NDArray[np.float32]:
    """Skin whose lids are as a warp leaves them: dark all over."""
    image = np.full((SIZE, SIZE, 3), SKIN, np.float32)
    points = blinked(1.0)
    for eye in EYES:
        low, high = points[list(eye), :2].min(0).astype(int), points[list(eye), :2].max(0)
        image[low[1] - 3 : int(high[1]) + 2, low[0] : int(high[0])] = 0.2
    return image


def test_the_means_are_skin_with_lashes_where_the_lids_meet() -> None:
    upper, lower = mean_lids()
    assert (upper.shape[:2], lower.shape[:2]) == BANDS
    assert upper[:8].mean() == pytest.approx(1, abs=0.12)
    assert upper[-2:, 12:36].mean() < 0.75 * upper[:8].mean()


@pytest.mark.parametrize("eye", [0, 1])
def test_a_shut_lid_is_skin_down_to_its_lashes(eye: int) -> None:
    image, known = smeared(), np.full((SIZE, SIZE), 0.5, np.float32)
    found, trust = shut_lids(image, known, blinked(0.0), blinked(1.0))
    x, y = (round(float(v)) for v in blinked(1.0)[EYES[eye][4], :2])
    lid, lashes = found[y - 5, x].mean(), found[y - 1 : y + 2, x].mean(-1).min()
    assert lid > 0.75 * np.mean(SKIN) > lashes
    assert trust[y - 5, x] > 0.8
    ring = lid_outline(blinked(1.0), eye)
    assert np.array_equal(found[int(ring[:, 1].max()) + 12], image[int(ring[:, 1].max()) + 12])


def test_where_no_skin_is_known_a_lid_goes_on_from_what_is() -> None:
    image, known = smeared(), np.ones((SIZE, SIZE), np.float32)
    points = blinked(1.0)
    outer = int(points[EYES[1][0], 0])
    image[:, outer - 6 :], known[:, outer - 6 :] = 0, 0  # a lock was left out there
    found, trust = shut_lids(image, known, blinked(0.0), points)
    painted = (trust > 0.02) & (known == 0)
    assert painted.any()
    assert found[painted].mean(-1).min() > 0.3 * np.mean(SKIN)


def test_eyes_that_stay_open_and_what_is_behind_glasses_are_left_alone() -> None:
    image, known = smeared(), np.ones((SIZE, SIZE), np.float32)
    found, _ = shut_lids(image, known, blinked(0.0), blinked(0.0))
    assert found is image
    found, _ = shut_lids(image, known, blinked(0.0), blinked(1.0), np.ones_like(known))
    assert np.array_equal(found, image)


@pytest.mark.parametrize("roll", [0.0, 40.0, 170.0])
def test_lids_that_shut_meet_and_do_not_cross(roll: float) -> None:
    face = made_up.geometry(roll=roll, size=SIZE)
    names = ("eyeBlinkLeft", "eyeBlinkRight", "eyeSquintLeft", "eyeSquintRight")
    values = dict.fromkeys(names, 1.0)
    found = combine(face, sliders=Sliders(expression=values)).landmarks[0, :, :2]
    middle = found[list(LIPS_OUTER)].mean(0)
    for eye in EYES:
        along = found[eye[8]] - found[eye[0]]
        down = torch.stack([-along[1], along[0]]) / torch.linalg.vector_norm(along)
        down = down * torch.sign(down @ (middle - found[eye[0]]))
        gap = (found[list(eye[:8:-1])] - found[list(eye[1:8])]) @ down
        assert gap.min() > -0.01
        assert gap.abs().max() < 1.5
