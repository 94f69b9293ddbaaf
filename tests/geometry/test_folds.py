# SPDX-License-Identifier: Apache-2.0
"""A smile creases cheeks beside the mouth, and nothing that moves is shaded."""

from __future__ import annotations

import numpy as np
import pytest

from facex.geometry.folds import MOST, fold_shade
from facex.geometry.topology import region_polygon_mask
from facex.types import BLENDSHAPES
from tests.fors import made_up

SIZE = 256


def change(**values: float) -> np.ndarray:
    result = np.zeros(len(BLENDSHAPES), np.float32)
    for name, value in values.items():
        result[BLENDSHAPES.index(name)] = value
    return result


SMILE = change(mouthSmileLeft=0.8, mouthSmileRight=0.8)


def test_without_a_change_nothing_is_shaded() -> None:
    assert (fold_shade(made_up.landmarks(size=SIZE), change(), SIZE) == 1).all()


def test_a_smile_darkens_the_skin_beside_the_mouth_more_than_cheeks_and_chin() -> None:
    points = made_up.landmarks(size=SIZE)
    shade = fold_shade(points, SMILE, SIZE)

    def at(landmark: int) -> float:
        column, row = points[landmark, :2].astype(int)
        return float(shade[row - 1 : row + 2, column - 1 : column + 2].mean())

    # Landmarks 206 and 426 lie on the folds beside the mouth.
    for fold, cheek in ((206, 50), (426, 280)):
        assert at(fold) < 0.98 < at(cheek)
    assert at(152) > 0.98


@pytest.mark.parametrize("region", ["eyes", "brows", "lips"])
def test_what_moves_is_not_shaded(region: str) -> None:
    points = made_up.landmarks(size=SIZE)
    shade = fold_shade(points, SMILE, SIZE)
    inside = region_polygon_mask(points, region, SIZE) > 0
    assert np.abs(shade[inside] - 1).mean() < 0.02


def test_back_and_forth_is_the_same_face_and_nothing_is_beyond_the_limit() -> None:
    points = made_up.landmarks(20, size=SIZE)
    np.testing.assert_allclose(
        fold_shade(points, SMILE, SIZE) * fold_shade(points, -SMILE, SIZE), 1, atol=1e-5
    )
    far = fold_shade(points, 50 * SMILE, SIZE)
    assert np.abs(np.log(far)).max() <= MOST + 1e-5
