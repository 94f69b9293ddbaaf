# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from facex.imaging.paste import feather, paste_back
from facex.imaging.warp import Similarity, crop_image
from tests.imaging.test_warp import noise, smooth

PLACES = [
    Similarity.from_parts(shift=(30, 20)),
    Similarity.from_parts(scale=2.3, rotation=0.3, shift=(40, 10)),
    Similarity.from_parts(scale=0.4, rotation=-1.2, shift=(60, 90)),
    Similarity.from_parts(scale=1.4, rotation=3.0, shift=(20, 30)),
]


def disc(size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] + 0.5
    return (np.hypot(x - size / 2, y - size / 2) < size * 0.4).astype(np.float32)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("radius", [0.0, 6.0])
def test_outside_the_mask_bytes_are_kept(place: Similarity, radius: float) -> None:
    photo = noise(150, 170)
    crop = np.random.default_rng(3).random((48, 48, 3))
    result, mask = paste_back(photo, crop, disc(48), place, feather_radius=radius)
    assert result.shape == photo.shape
    assert mask.dtype == np.float32
    assert np.array_equal(result[mask == 0], photo[mask == 0])
    assert (mask > 0).any()
    assert (mask >= 0).all()
    assert (mask <= 1).all()
    assert (result[mask > 0.9] != photo[mask > 0.9]).mean() > 0.9


@pytest.mark.parametrize("place", PLACES[:3])
def test_the_mask_lies_where_the_matrix_says(place: Similarity) -> None:
    photo = np.zeros((200, 200, 3), np.uint8)
    _, mask = paste_back(photo, np.ones((48, 48, 3)), disc(48), place)
    visible = disc(48).sum() * place.scale**2
    y, x = np.mgrid[:200, :200] + 0.5
    centre = np.array([(x * mask).sum(), (y * mask).sum()]) / mask.sum()
    assert mask.sum() == pytest.approx(visible, rel=0.03)
    assert np.abs(centre - place.apply(np.array([24.0, 24.0]))).max() < 0.1


def test_an_unedited_crop_changes_nothing() -> None:
    photo = noise(100, 100)
    place = Similarity.from_parts(shift=(30, 20))
    crop = crop_image(photo, place, 48)
    for edited in (crop, crop / 255):
        result, _ = paste_back(photo, edited, np.ones((48, 48)), place, feather_radius=4)
        assert np.array_equal(result, photo)


@pytest.mark.parametrize("scale", [0.35, 0.9, 2.6])
def test_a_crop_returns_to_its_place(scale: float) -> None:
    photo = smooth(200, 200)
    place = Similarity.from_parts(scale=scale, rotation=0.25, shift=(50, 30))
    crop = crop_image(photo, place, 50)
    result, mask = paste_back(photo, crop, np.ones((50, 50)), place, feather_radius=5)
    assert mask.max() == 1
    assert np.abs(result.astype(int) - photo).max() <= 5


def test_beyond_the_photo_and_empty_masks() -> None:
    photo = noise(60, 60)
    for shift in ((-30, -30), (45, 45), (500, 500)):
        place = Similarity.from_parts(shift=shift)
        result, mask = paste_back(photo, np.ones((48, 48, 3)), np.ones((48, 48)), place)
        assert (result[mask == 1] == 255).all()
        assert np.array_equal(result[mask == 0], photo[mask == 0])
    result, mask = paste_back(photo, np.ones((8, 8, 3)), np.zeros((8, 8)), PLACES[0])
    assert np.array_equal(result, photo)
    assert not mask.any()
    with pytest.raises(ValueError, match=r"0\.\.1"):
        paste_back(photo, np.full((8, 8, 3), 200.0), np.ones((8, 8)), PLACES[0])
    with pytest.raises(ValueError, match="do not fit"):
        paste_back(photo, np.ones((8, 8, 3)), np.ones((9, 8)), PLACES[0])


def test_feather_stays_inside_and_grows_steadily() -> None:
    mask = disc(64)
    soft = feather(mask, 8)
    assert (soft[mask == 0] == 0).all()
    assert soft[32, 32] == 1
    row = soft[32, :32]
    assert (np.diff(row) >= 0).all()
    assert np.diff(row).max() < 0.25
    assert np.array_equal(feather(mask, 0), mask)
    edge = feather(np.ones((32, 32), bool), 6)
    assert edge[0].max() < 0.1
    assert edge[16, 16] == 1
