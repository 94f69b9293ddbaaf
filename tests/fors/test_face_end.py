# SPDX-License-Identifier: Apache-2.0
"""Beyond the half of a face that its photo shows turned away, nothing of it is shown."""

from __future__ import annotations

import numpy as np
import pytest

from facex.fors.face_end import face_ends
from facex.geometry.texture_map import mesh_warp
from facex.types import FACE_REGIONS, Region
from tests.fors import made_up
from tests.fors.made_up import SIZE


@pytest.mark.parametrize("yaw", [-60.0, 60.0])
def test_a_face_ends_beside_what_its_photo_hides(yaw: float) -> None:
    place = made_up.landmarks()
    field = mesh_warp(made_up.landmarks(yaw), place, SIZE)
    row = round(place[1, 1])
    columns = np.flatnonzero(field.inside[row])
    far, near = columns[0], columns[-1]
    if field.visible[row, columns[2]] > 0.5:
        far, near = near, far
    away = 1 if far > near else -1
    head = np.ones((SIZE, SIZE), np.float32)
    ends = face_ends(field, place, head, bearded=True)
    for region in (*FACE_REGIONS, Region.GLASSES):
        for distance in (3, 8):
            assert ends[region][row, far + distance * away] == 0
            assert ends[region][row, near - distance * away] == 1
        assert ends[region][field.inside > 0].min() == 1
    # A beard hangs below the chin of a head that stays, where skin does not.
    below = round(place[152, 1]) + 4, round(place[152, 0]) - 6 * away
    bald = face_ends(field, place, np.zeros_like(head), bearded=True)
    assert bald[Region.BEARD][below] == 1
    assert bald[Region.SKIN][below] == 0


def test_a_head_that_comes_ends_with_its_mesh_below_the_brows() -> None:
    place = made_up.landmarks()
    field = mesh_warp(place, place, SIZE)
    ends = face_ends(field, place, None, bearded=False)
    assert set(ends) == {Region.SKIN, Region.GLASSES, Region.BEARD}
    assert ends[Region.SKIN][-5].max() == 0
    assert ends[Region.SKIN][5].min() == 1
    assert Region.BEARD not in face_ends(field, place, None, bearded=True)
