# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from facex.detect.detector import Detection, suppress, turned


@pytest.mark.parametrize("roll", [0.0, 0.4, -1.0, math.pi])
def test_turned_pictures_know_their_way_back(roll: float) -> None:
    photo = np.zeros((200, 300, 3), np.uint8)
    cv2.circle(photo, (220, 60), 6, (255, 255, 255), -1)
    upright, photo_from_upright = turned(photo, 0.5, roll)
    y, x = np.nonzero(upright[..., 0] > 100)
    back = photo_from_upright.apply(np.array([x.mean() + 0.5, y.mean() + 0.5]))
    assert np.abs(back - (220.5, 60.5)).max() < 0.6
    assert photo_from_upright.rotation == pytest.approx(roll)


def test_suppress_keeps_the_surest() -> None:
    one, shifted = Detection((0, 0, 100, 100), 0.4), Detection((10, 0, 110, 100), 0.9)
    inside, apart = Detection((40, 40, 70, 70), 0.1), Detection((95, 95, 195, 195), 0.2)
    assert suppress([one, shifted, inside, apart]) == [shifted, apart]
