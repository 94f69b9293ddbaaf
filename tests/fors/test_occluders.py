# SPDX-License-Identifier: Apache-2.0
"""What is held before a face stays before the one that takes its place."""

from __future__ import annotations

import cv2
import numpy as np

from facex.fors.face_picture import FacePicture
from facex.fors.occluders import things_before
from facex.fors.region_assembler import RegionAssembler
from facex.recipes.plan import plan_step
from facex.recipes.schema import Step
from facex.types import PARSING_CLASSES
from tests.fors import made_up
from tests.fors.made_up import SIZE

GLASSES = PARSING_CLASSES.index("eye_g")


def holding(radius: int, *, lens: bool = False) -> tuple[FacePicture, np.ndarray]:
    """A face with a black ball before its mouth, or a mirroring lens; and where that is."""
    picture = made_up.picture((0.8, 0.6, 0.5))
    x, y = (int(v) for v in picture.landmarks[468 if lens else 17, :2])
    disc = np.zeros((SIZE, SIZE), np.uint8)
    cv2.circle(disc, (x, y), radius, 1, -1)
    image, parsing = picture.pixels.copy(), picture.parsing.copy()
    image[disc > 0] = 0.05
    parsing[disc > 0] = 0
    if lens:
        cv2.circle(parsing, (x, y), radius + 1, GLASSES, 2)
    return FacePicture(image, picture.landmarks, parsing, SIZE), disc > 0


def test_a_thing_before_the_mouth_stays_there_in_a_swap() -> None:
    target, ball = holding(10)
    source = made_up.picture((0.5, 0.4, 0.3))
    fields = {"identity": "source", "texture": "source", "regions": {"face": "source"}}
    plan = plan_step(Step.model_validate(fields))
    built = RegionAssembler({"target": target, "source": source}, plan, target.landmarks).assemble()
    inside = cv2.erode(ball.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert np.abs(built.image[inside] - 0.05).max() < 0.02
    assert built.edit[inside].max() < 0.05


def test_specks_and_lenses_and_what_is_behind_a_face_are_nothing_before_it() -> None:
    for picture in (made_up.picture(), holding(2)[0], holding(8, lens=True)[0]):
        assert not things_before(picture).any()
    assert things_before(holding(10)[0]).max() > 0.9
