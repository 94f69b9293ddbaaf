# SPDX-License-Identifier: Apache-2.0
"""A face that takes on another expression has the folds of that one, on its skin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facex.fors.motion import changes_of_expression
from facex.fors.region_assembler import RegionAssembler
from facex.geometry.topology import region_polygon_mask
from facex.recipes.plan import plan_step
from facex.recipes.schema import Step
from facex.types import BLENDSHAPES
from tests.fors import made_up

SMILE = [BLENDSHAPES.index(name) for name in ("mouthSmileLeft", "mouthSmileRight")]
LOOK = BLENDSHAPES.index("eyeLookUpLeft")
SWAP = {"identity": "source", "texture": "source", "regions": {"face": "source"}}


def test_only_who_changes_is_told_and_not_for_a_look() -> None:
    neutral = made_up.geometry()
    smiling, looking = neutral.expression.clone(), neutral.expression.clone()
    smiling[:, SMILE], looking[:, LOOK] = 0.8, 0.8
    faces = {"target": replace(neutral, expression=smiling), "source": neutral}
    found = changes_of_expression(faces["target"], faces)
    assert set(found) == {"source"}
    assert found["source"][SMILE].tolist() == [np.float32(0.8)] * 2
    assert not changes_of_expression(replace(neutral, expression=looking), {"target": neutral})


def test_a_source_that_smiles_in_the_result_gets_folds_on_its_skin() -> None:
    picture = made_up.picture((0.7, 0.55, 0.45))
    pictures = {"target": picture, "source": picture}
    plan = plan_step(Step.model_validate(SWAP))
    change = np.zeros(len(BLENDSHAPES), np.float32)
    change[SMILE] = 0.8
    plain, folded = (
        RegionAssembler(pictures, plan, picture.landmarks, expressions=expressions).assemble()
        for expressions in (None, {"source": change})
    )
    gap = (folded.image - plain.image).mean(-1)
    column, row = picture.landmarks[206, :2].astype(int)
    assert gap[row, column] < -0.01
    lips = region_polygon_mask(picture.landmarks, "lips", made_up.SIZE) > 0
    assert np.abs(gap[lips]).mean() < 0.01
    np.testing.assert_array_equal(plain.edit, folded.edit)
