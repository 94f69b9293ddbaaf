# SPDX-License-Identifier: Apache-2.0
"""Hair that a crop cuts off ends round in another photo."""

from __future__ import annotations

import numpy as np
import pytest

from facex.fors.face_picture import FacePicture
from facex.fors.region_masks import region_masks
from facex.fors.trim import trim_face
from facex.types import PARSING_CLASSES, Region
from tests.fors import made_up

SIZE = made_up.SIZE


@pytest.mark.parametrize("fringe", [True, False])
def test_hair_up_to_the_border_ends_before_it_and_earlier_in_the_corners(fringe: bool) -> None:
    points = made_up.landmarks()
    label = made_up.parsing(points)
    label[label == 0] = PARSING_CLASSES.index("hair")
    picture = FacePicture(made_up.textured(), points, label, SIZE)
    masks = region_masks(picture)
    whole = masks[Region.HAIR].copy()
    trim_face(masks, picture, fringe=fringe)
    hair, middle, corner = masks[Region.HAIR], SIZE // 2, round(0.06 * SIZE)
    assert whole[0, middle] > 0.9
    assert hair[0].max() < 0.05
    assert hair[corner, middle] > 0.9
    assert hair[corner, corner] < 0.1
    assert np.all(hair <= whole)
