# SPDX-License-Identifier: Apache-2.0
"""How pictures look in a result: hair keeps its colour, skin between hairs does not."""

from __future__ import annotations

import numpy as np
import pytest

from facex.fors.appearance import Appearance
from facex.fors.region_assembler import RegionAssembler
from facex.fors.region_masks import region_masks
from facex.fors.relight import ColourMap
from facex.geometry.topology import region_polygon_mask
from facex.recipes.plan import plan_step
from facex.recipes.schema import Step
from facex.types import PARSING_CLASSES, Region
from tests.fors import made_up

SIZE = made_up.SIZE
HEAD_SWAP = {"identity": "source", "hair": "source", "texture": "source"}


def test_between_hairs_the_skin_is_lit_as_the_face_is() -> None:
    picture = made_up.picture()
    pictures = {"target": picture, "source": picture}
    masks = {name: region_masks(each) for name, each in pictures.items()}
    looks = Appearance(plan_step(Step(**HEAD_SWAP)), pictures, masks)
    darker = ColourMap(np.float32([70, 15, 20]), np.ones(3, np.float32), np.float32([-30, 0, 0]))
    looks.colours["source"] = darker
    image, hair = picture.pixels, (Region.HAIR,)
    share = np.zeros((SIZE, SIZE), np.float32)
    share[:, SIZE // 2 :] = 1
    found = looks.recolour("source", hair, image, share)
    kept, lit = (
        looks.recolour("source", hair, image),
        looks.recolour("source", (Region.SKIN,), image),
    )
    assert np.array_equal(found[:, : SIZE // 2], kept[:, : SIZE // 2])
    assert found[:, SIZE // 2 :] == pytest.approx(lit[:, SIZE // 2 :], abs=1e-6)
    assert lit.mean() < 0.8 * kept.mean()


def test_a_narrower_head_has_none_of_the_old_one_s_skin_beside_it() -> None:
    skin, wall = np.float32([0.8, 0.4, 0.3]), np.float32([0.2, 0.7, 0.3])
    points = made_up.landmarks()
    labels = made_up.parsing(points)
    ground = np.isin(labels, [PARSING_CLASSES.index(n) for n in ("background", "cloth", "neck")])
    image = np.where(ground[..., None], wall, skin)
    target = made_up.picture(np.asarray(image, np.float32), points)
    source = made_up.picture((0.5, 0.5, 0.5))
    narrow = points.copy()
    middle = points[:, 0].mean()
    narrow[:, 0] = middle + 0.7 * (points[:, 0] - middle)
    pictures = {"target": target, "source": source}
    built = RegionAssembler(pictures, plan_step(Step(**HEAD_SWAP)), narrow).assemble()
    old, new = (region_polygon_mask(p, "face", SIZE) > 0 for p in (points, narrow))
    row = round(points[152, 1]) - 14
    beside = np.flatnonzero(old[row] & ~new[row])
    outer = built.image[row, [beside[2], beside[-3]]]
    assert abs(outer - wall).max() < abs(outer - skin).max()
