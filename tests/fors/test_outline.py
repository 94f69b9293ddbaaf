# SPDX-License-Identifier: Apache-2.0
"""Hair carried into another photo brings no halo of its own photo's ground."""

from __future__ import annotations

import numpy as np
import pytest

from facex.fors.outline import without_ground


@pytest.mark.parametrize("size", [128, 400])
def test_a_head_before_a_white_wall_keeps_its_own_colours_along_its_outline(size: int) -> None:
    rows, columns = np.mgrid[:size, :size] + 0.5
    away = np.hypot(rows - size / 2, columns - size / 2) - 0.3 * size
    share = np.clip(0.5 - away / (0.02 * size), 0, 1)[..., None].astype(np.float32)
    grain = np.random.default_rng(0).uniform(-0.02, 0.02, (size, size, 1)).astype(np.float32)
    hair = np.array([0.2, 0.12, 0.08], np.float32) + grain
    photo = hair * share + 0.95 * (1 - share)
    found = without_ground(photo, share[..., 0])
    shown = (share[..., 0] > 0.1) & (share[..., 0] < 0.9)
    assert photo[shown].mean() > 0.4
    assert abs(found - hair)[shown].mean() < 0.06
    inside, far = away < -0.02 * size, away > 0.05 * size
    np.testing.assert_array_equal(found[inside], photo[inside])
    np.testing.assert_array_equal(found[far], photo[far])
