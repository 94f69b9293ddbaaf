# SPDX-License-Identifier: Apache-2.0
"""Narrow eyes cannot fill wide lids, however the head is turned."""

from __future__ import annotations

import numpy as np
import pytest

from facex.fors.lent_eyes import lacks_eyes
from facex.geometry.topology import EYES
from tests.fors import made_up


def narrowed(points: np.ndarray, share: float) -> np.ndarray:
    """Landmarks whose lids are opened by a share of what they were."""
    result = points.copy()
    for eye in EYES:
        ring = list(eye)
        middle = points[ring, 1].mean()
        result[ring, 1] = middle + share * (points[ring, 1] - middle)
    return result


@pytest.mark.parametrize("yaw", [0.0, 40.0, -40.0])
def test_eyes_are_lacking_where_lids_hide_them(yaw: float) -> None:
    place, source = made_up.landmarks(), made_up.landmarks(yaw)
    assert not lacks_eyes(source, place)
    assert lacks_eyes(narrowed(source, 0.5), place)
    assert not lacks_eyes(narrowed(source, 0.5), narrowed(place, 0.5))
