# SPDX-License-Identifier: Apache-2.0
"""A jaw with hair on it says nothing of the skin below: grey stubble as little as a dark beard."""

from __future__ import annotations

import numpy as np
import pytest

from facex.fors.beard import drained
from facex.fors.guess import Lender, lend_skin
from tests.fors.made_up import SIZE

SKIN = np.array([0.45, 0.3, 0.22], np.float32)
GREY = np.array([0.42, 0.42, 0.42], np.float32)


def halves(jaw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture of skin above, of a jaw below; and where both are."""
    image = np.broadcast_to(SKIN, (SIZE, SIZE, 3)).copy()
    lower = np.zeros((SIZE, SIZE), np.float32)
    lower[SIZE // 2 :] = 1
    image[lower > 0] = jaw
    return image, 1 - lower, lower


@pytest.mark.parametrize(("jaw", "sure"), [(SKIN, 0.0), (SKIN * 0.8, 0.0), (GREY, 1.0)])
def test_hair_has_less_colour_than_skin(jaw: np.ndarray, sure: float) -> None:
    assert drained(*halves(jaw)) == pytest.approx(sure, abs=0.2)


def test_grey_stubble_is_not_lent() -> None:
    picture, skin, jaw = halves(GREY)
    image, nothing = np.broadcast_to(SKIN, picture.shape).copy(), np.zeros_like(skin)
    known = np.ones_like(skin)
    known[80:100, 40:60] = 0
    lender = Lender(picture, skin, jaw, nothing, nothing)
    lent, trust = lend_skin(image, known, np.ones_like(skin), skin, jaw, lender)
    hole = (slice(82, 98), slice(42, 58))
    assert trust[hole].min() > 0.4
    assert np.abs(lent[hole] - SKIN).max() < 0.03
