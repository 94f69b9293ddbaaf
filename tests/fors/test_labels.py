# SPDX-License-Identifier: Apache-2.0
"""What is too small to be what a parser calls it goes to what is around."""

from __future__ import annotations

import numpy as np

from facex.fors.labels import without_specks
from facex.types import PARSING_CLASSES

SKIN, HAT, GLASSES = (PARSING_CLASSES.index(name) for name in ("skin", "hat", "eye_g"))


def face(label: int, sides: list[int]) -> np.ndarray:
    """Skin with squares of a label beside each other."""
    parsing = np.full((256, 256), SKIN, np.uint8)
    for number, side in enumerate(sides):
        parsing[100 : 100 + side, 40 + 60 * number : 40 + 60 * number + side] = label
    return parsing


def test_a_wrinkle_is_no_hat() -> None:
    assert (without_specks(face(HAT, [8])) == SKIN).all()
    assert (without_specks(face(HAT, [30])) == HAT).sum() == 900


def test_shadows_called_glasses_are_none_but_two_lenses_are() -> None:
    assert (without_specks(face(GLASSES, [15])) == SKIN).all()
    assert (without_specks(face(GLASSES, [15, 15])) == GLASSES).sum() == 450
