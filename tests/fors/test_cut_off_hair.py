# SPDX-License-Identifier: Apache-2.0
"""Hair that a crop cuts off ends round in another photo, and strands stay behind with it."""

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


def test_a_strand_stays_behind_along_the_whole_forehead_and_a_wrinkle_comes_along() -> None:
    picture = made_up.picture((0.8, 0.6, 0.5))
    hair = picture.parsing == PARSING_CLASSES.index("hair")
    brow, middle = int(picture.landmarks[9, 1]), SIZE // 2
    top = int(np.flatnonzero(hair[:, middle]).max()) + 1
    strand = np.s_[top : brow - 5, middle - 12]
    wrinkle = np.s_[brow - 7, middle + 2 : middle + 12]
    for line in (strand, wrinkle):
        picture.image[line] = 0.15
    masks = region_masks(picture)
    trim_face(masks, picture)
    assert masks[Region.SKIN][strand].max() < 0.3
    assert masks[Region.SKIN][wrinkle].min() > 0.9
