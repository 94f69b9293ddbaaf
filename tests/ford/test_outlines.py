# SPDX-License-Identifier: Apache-2.0
"""Noses in labels become convex over skin alone, eyes end at the lids, and nothing else changes."""

from __future__ import annotations

import numpy as np

from facex.ford.outlines import mended_outlines
from facex.types import PARSING_CLASSES
from tests.fors import made_up

SIZE = 256
SKIN, NOSE, EYE, GLASSES = (PARSING_CLASSES.index(n) for n in ("skin", "nose", "r_eye", "eye_g"))


def test_a_pinched_nose_is_whole_and_glasses_stay() -> None:
    points = made_up.landmarks(size=SIZE)
    label = np.full((SIZE, SIZE), SKIN, np.uint8)
    label[100:160, 124:132] = NOSE
    label[150:160, 104:152] = NOSE
    label[130:134, 112:116] = GLASSES
    found = mended_outlines(label, points)
    assert (found[145, 116:140] == NOSE).all()
    assert (found[label == NOSE] == NOSE).all()
    assert (found[label == GLASSES] == GLASSES).all()
    assert (found[:99] == label[:99]).all()
    again = mended_outlines(found, points)
    assert (again != found).mean() < 0.001


def test_eyes_end_at_the_lids() -> None:
    points = made_up.landmarks(size=SIZE)
    label = made_up.parsing(points, SIZE)
    drawn = np.where(np.isin(label, [SKIN]), EYE, label).astype(np.uint8)
    found = mended_outlines(drawn, points)
    assert (found[label == SKIN] == SKIN).mean() > 0.97
    eyes = np.isin(label, [EYE, PARSING_CLASSES.index("l_eye")])
    assert (found[eyes] != SKIN).mean() > 0.8
