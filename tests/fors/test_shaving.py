# SPDX-License-Identifier: Apache-2.0
"""A beard goes with its face, below the chin too; one beard that replaces another stays there."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facex.fors.face_picture import FacePicture
from facex.fors.region_assembler import RegionAssembler
from facex.geometry.topology import region_polygon_mask
from facex.recipes.plan import plan_step
from facex.recipes.schema import Step
from facex.types import PARSING_CLASSES
from tests.fors import made_up
from tests.fors.made_up import SIZE

SKIN, DARK = (0.8, 0.6, 0.5), (0.12, 0.1, 0.09)
NECK = PARSING_CLASSES.index("neck")
WHOLE = {"identity": "source", "texture": "source", "regions": {"face": "source"}}


def face(*, bearded: bool) -> tuple[FacePicture, np.ndarray]:
    """A face, and where hairs of its beard lie on its neck."""
    picture = made_up.picture(SKIN)
    image = picture.pixels.copy()
    jaw = region_polygon_mask(picture.landmarks, "beard", SIZE)
    below = cv2.dilate(jaw, np.ones((7, 1), np.uint8)) > 0
    hairs = below & (picture.parsing == NECK)
    if bearded:
        coarse = np.random.default_rng(0).uniform(0.3, 1.7, (SIZE, SIZE, 1)).astype(np.float32)
        beard = (jaw > 0) | hairs
        image[beard] = (np.float32(DARK) * coarse)[beard]
    return FacePicture(image, picture.landmarks, picture.parsing, SIZE), hairs


@pytest.mark.parametrize("bearded", [False, True])
def test_a_bare_chin_has_no_beard_below(bearded: bool) -> None:
    target, hairs = face(bearded=True)
    source, _ = face(bearded=bearded)
    plan = plan_step(Step.model_validate(WHOLE))
    pictures = {"target": target, "source": source}
    image = RegionAssembler(pictures, plan, target.landmarks).assemble().image
    light = np.median(image[hairs].mean(-1))
    assert (light > 0.3) == (not bearded)
