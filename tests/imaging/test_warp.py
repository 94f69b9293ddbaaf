# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from facex.imaging.tensors import to_array, to_pil, to_tensor
from facex.imaging.warp import (
    LEFT_EYE,
    LEFT_MOUTH_CORNER,
    RIGHT_EYE,
    RIGHT_MOUTH_CORNER,
    Similarity,
    crop_box,
    crop_image,
    ffhq_alignment,
    uncrop,
)

TURNED = Similarity.from_parts(scale=1.7, rotation=0.4, shift=(12.5, -3.25))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] + 0.5
    waves = [np.sin(x / 9 + y / 14), np.cos(x / 12), np.sin(y / 10 - x / 17)]
    return np.rint(127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)


def test_all_levels_survive_the_tensor() -> None:
    array = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    tensor = to_tensor(array)
    assert tensor.shape == (1, 3, 16, 16)
    assert (tensor.min(), tensor.max()) == (-1, 1)
    assert np.array_equal(to_array(tensor), array)
    assert np.array_equal(np.asarray(to_pil(to_tensor(to_pil(tensor)))), array)
    assert to_array(torch.full((3, 2, 2), 7.0)).max() == 255
    for bad in (torch.zeros(2, 3, 4, 4), torch.zeros(1, 4, 4)):
        with pytest.raises(ValueError, match="one picture"):
            to_array(bad)


def test_similarity_algebra() -> None:
    points = np.random.default_rng(1).normal(size=(20, 2)) * 100
    moved = TURNED.apply(points)
    assert np.allclose(TURNED.inverse().apply(moved), points)
    twice = TURNED.compose(TURNED)
    assert np.allclose(twice.apply(points), TURNED.apply(moved))
    assert twice.scale == pytest.approx(1.7**2)
    assert twice.rotation == pytest.approx(0.8)
    found = Similarity.from_points(points, moved)
    assert np.allclose(found.matrix, TURNED.matrix)
    # + is clockwise as seen: x (right) turns towards y (down)
    assert Similarity.from_parts(rotation=0.1).apply(np.array([1.0, 0.0]))[1] > 0


def test_least_squares_and_no_reflection() -> None:
    rng = np.random.default_rng(2)
    source = rng.normal(size=(30, 2)) * 50
    goal = TURNED.apply(source) + rng.normal(size=(30, 2))
    best = Similarity.from_points(source, goal)
    error = ((best.apply(source) - goal) ** 2).sum()
    for change in np.eye(4) * 1e-3:
        parts = np.array([best.matrix[0, 0], best.matrix[1, 0], *best.matrix[:, 2]])
        a, b, x, y = parts + change
        other = Similarity(np.array([[a, -b, x], [b, a, y]]))
        assert ((other.apply(source) - goal) ** 2).sum() > error
    mirrored = Similarity.from_points(source, source * [-1, 1])
    assert np.linalg.det(mirrored.matrix[:, :2]) > 0


@pytest.mark.parametrize(
    "matrix",
    [np.eye(3), np.zeros((2, 3)), [[1, 0, 0], [0, -1, 0]], [[1, 0, np.nan], [0, 1, 0]]],
)
def test_other_matrices_are_refused(matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match="similarity"):
        Similarity(np.asarray(matrix))
    with pytest.raises(ValueError, match="read-only"):
        TURNED.matrix[0, 0] = 2


def test_ffhq_rule_on_a_drawn_face_and_its_equivariance() -> None:
    points = np.zeros((478, 2))
    points[list(RIGHT_EYE)], points[list(LEFT_EYE)] = (96, 120), (160, 120)
    points[RIGHT_MOUTH_CORNER], points[LEFT_MOUTH_CORNER] = (104, 185), (152, 185)
    crop = ffhq_alignment(points, 256)
    # side = max(4 * 64, 3.6 * 65), centre a tenth of the way from eyes to mouth
    assert crop.scale == pytest.approx(1)
    assert crop.rotation == pytest.approx(0)
    assert np.allclose(crop.apply(np.array([128.0, 128.0])), (128, 126.5))
    moved = ffhq_alignment(TURNED.apply(points), 256)
    assert np.allclose(moved.matrix, TURNED.compose(crop).matrix)
    assert ffhq_alignment(points, 512).scale == pytest.approx(0.5)


@pytest.mark.parametrize("shift", [(0, 0), (5, 3), (-7, -2), (30, 40)])
def test_whole_pixel_moves_are_exact(shift: tuple[int, int]) -> None:
    photo = noise(40, 50)
    x, y = shift
    crop = crop_image(photo, Similarity.from_parts(shift=shift), (40, 50))
    padded = np.pad(photo, ((50, 50), (60, 60), (0, 0)), mode="symmetric")
    assert np.array_equal(crop, padded[50 + y : 90 + y, 60 + x : 110 + x])
    there_and_back = TURNED.compose(TURNED.inverse())
    assert np.array_equal(crop_image(photo, there_and_back, (40, 50)), photo)
    tensor = torch.randn(2, 3, 40, 50)
    assert torch.equal(crop_image(tensor, Similarity.identity(), (40, 50)), tensor)


@pytest.mark.parametrize("scale", [0.3, 0.77, 1.0, 1.5, 2.0, 3.3])
@pytest.mark.parametrize("rotation", [0.0, 0.5, math.pi / 2])
def test_a_ramp_lies_where_the_matrix_says(scale: float, rotation: float) -> None:
    y, x = torch.meshgrid(torch.arange(200) + 0.5, torch.arange(200) + 0.5, indexing="ij")
    photo = torch.stack([x, y])[None]
    middle = Similarity.from_parts(scale=scale, rotation=rotation)
    shift = 100 - middle.apply(np.array([8.0, 8.0])) + [0.3, -0.2]
    photo_from_crop = Similarity.from_parts(scale=scale, rotation=rotation, shift=tuple(shift))
    crop = crop_image(photo, photo_from_crop, 16)
    v, u = np.mgrid[:16, :16] + 0.5
    truth = photo_from_crop.apply(np.stack([u, v], -1))
    assert np.abs(crop[0].permute(1, 2, 0).numpy() - truth).max() < 2e-3


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    for scale in (2.0, 2.37, 5.0, 7.9):
        crop = crop_image(stripes, Similarity.from_parts(scale=scale), int(380 / scale))
        assert np.abs(crop[3:-3, 3:-3].astype(float) - 127.5).max() < 8


def test_bytes_and_tensors_agree_and_gradients_flow() -> None:
    photo = smooth(120, 130)
    crop = crop_image(photo, TURNED, 48)
    tensor = to_tensor(photo).requires_grad_()
    other = crop_image(tensor, TURNED, 48)
    assert np.abs(to_array(other).astype(int) - crop).max() <= 1
    other.sum().backward()
    assert tensor.grad is not None
    assert tensor.grad.abs().sum() > 0


def test_there_and_back() -> None:
    photo = smooth(160, 160)
    photo_from_crop = Similarity.from_parts(scale=0.8, rotation=0.2, shift=(40, 25))
    crop = crop_image(photo, photo_from_crop, 100)
    region, covered = uncrop(crop, photo_from_crop, (20, 10, 140, 150))
    assert region.shape == (140, 120, 3)
    inside = covered == 1
    assert inside.sum() > 5000
    assert np.abs(region - photo[10:150, 20:140])[inside].max() < 3
    assert covered.sum() == pytest.approx((100 * 0.8) ** 2, rel=0.01)


def test_crop_box_is_clipped() -> None:
    assert crop_box(Similarity.identity(), (2, 3, 10, 12), (8, 100)) == (1, 2, 8, 13)
    x0, _, x1, _ = crop_box(Similarity.from_parts(shift=(500, 0)), (0, 0, 9, 9), (100, 100))
    assert x0 >= x1
