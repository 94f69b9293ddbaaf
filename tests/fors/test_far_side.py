# SPDX-License-Identifier: Apache-2.0
"""The side of a face that is turned away shows nothing of the source's ground."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facex.fors.face_picture import FacePicture
from facex.fors.region_assembler import RegionAssembler
from facex.recipes.plan import plan_step
from facex.recipes.schema import Step
from facex.types import PARSING_CLASSES
from tests.fors import made_up

SKIN, GLASSES = (PARSING_CLASSES.index(name) for name in ("skin", "eye_g"))


def picture(yaw: float, ground: tuple[float, float, float]) -> FacePicture:
    """A face in one colour of skin, without hair, on an even ground."""
    face = made_up.picture(ground, made_up.landmarks(yaw=yaw))
    face.parsing[face.parsing == PARSING_CLASSES.index("hair")] = 0
    face.image[face.parsing > 0] = (0.7, 0.5, 0.42)
    return face


@pytest.mark.parametrize("yaw", [-35.0, -25.0])
def test_a_frontal_source_brings_none_of_its_ground_along(yaw: float) -> None:
    target, source = picture(yaw, (0.2, 0.2, 0.9)), picture(0, (0.0, 1.0, 0.0))
    # Glasses that stand out beyond the far cheek, and go.
    row = int(target.landmarks[33, 1])
    head = np.flatnonzero((target.parsing > 0)[row])
    worn = np.s_[row - 10 : row + 30, head.min() - 8 : head.max() + 8]
    frame = target.parsing[worn] == 0
    target.parsing[worn][frame] = GLASSES
    target.image[worn][frame] = 0.05
    # A parser's skin ends a little beyond the face.
    wide = cv2.dilate((source.parsing == SKIN).astype(np.uint8), np.ones((5, 5))) > 0
    source.parsing[wide & (source.parsing == 0)] = SKIN
    swap = Step(
        identity="source",
        texture="source",
        regions={"face": "source", "glasses": "source"},
        edit=("face", "glasses"),
    )
    pictures = {"target": target, "source": source}
    built = RegionAssembler(pictures, plan_step(swap), target.landmarks).assemble(256)
    assert (built.image[..., 1] - built.image[..., 0]).max() < 0.105
