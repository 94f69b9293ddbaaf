# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from facex.errors import OptionError
from facex.geometry.drive import combine
from facex.geometry.shape_model import ShapeModel
from facex.geometry.sliders import Sliders
from facex.geometry.texture_map import (
    apply_warp,
    mesh_warp,
    render_normals,
    render_position_map,
    scale_points,
    vertex_visibility,
)
from facex.geometry.topology import FACE_OVAL, LIPS_INNER, region_polygon_mask

from .conftest import MakeFace, points_of

Bytes = NDArray[np.uint8]


@pytest.mark.parametrize("yaw", [0.0, 40.0])
@pytest.mark.parametrize("cubic", [False, True])
def test_unedited_face_maps_to_its_own_bytes(
    make_face: MakeFace, picture: Bytes, yaw: float, cubic: bool
) -> None:
    points = points_of(make_face(0, yaw=yaw))
    field = mesh_warp(points, points, 256)
    assert np.array_equal(apply_warp(field, picture, cubic=cubic), picture)
    assert (field.displacement == 0).all()
    assert (field.visible == 1).all()


def test_a_local_edit_leaves_the_rest_alone(make_face: MakeFace, picture: Bytes) -> None:
    face = make_face(1)
    looking = combine(face, sliders=Sliders(gaze_yaw=0.3))
    field = mesh_warp(points_of(face), points_of(looking), 256, anchor_far=True)
    warped = apply_warp(field, picture)
    near = region_polygon_mask(points_of(face), "face", 256)
    assert np.array_equal(warped[near == 0], picture[near == 0])
    assert np.array_equal(warped[160:], picture[160:])
    assert (field.visible[160:] > 0.999).all()
    eyes = region_polygon_mask(points_of(face), "eyes", 256) > 0
    assert not np.array_equal(warped[eyes], picture[eyes])


def test_vertices_come_from_their_own_places(make_face: MakeFace) -> None:
    source, result = points_of(make_face(2, yaw=10)), points_of(make_face(3, pitch=8))
    field = mesh_warp(source, result, 256)
    shown = vertex_visibility(result) > 0.6
    shown[468:] = False
    xy = result[shown, :2].astype(int)
    got = field.map_xy[xy[:, 1], xy[:, 0]] - (xy + 0.5) + result[shown, :2]
    error = np.linalg.norm(got - source[shown, :2], axis=1)
    assert np.median(error) < 0.25
    assert np.percentile(error, 95) < 1.0


def test_there_and_back(make_face: MakeFace, picture: Bytes) -> None:
    face = make_face(4)
    there = combine(face, sliders=Sliders(yaw=math.radians(12), expression={"jawOpen": 0.2}))
    first = mesh_warp(points_of(face), points_of(there), 256)
    second = mesh_warp(points_of(there), points_of(face), 256)
    back = apply_warp(second, apply_warp(first, picture)).astype(float)
    clear = (second.inside > 0) & (second.visible > 0.9)
    clear &= apply_warp(second, first.visible) > 0.95
    assert clear.mean() > 0.15
    assert np.abs(back - picture)[clear].mean() < 4


def test_far_away_stays_when_anchored(make_face: MakeFace) -> None:
    face = make_face(5)
    turned = combine(face, sliders=Sliders(yaw=math.radians(25), roll=math.radians(10)))
    field = mesh_warp(points_of(face), points_of(turned), 256, anchor_far=True)
    moved = np.linalg.norm(field.displacement, axis=-1)
    border = np.concatenate([moved[0], moved[-1], moved[:, 0], moved[:, -1]])
    assert border.max() < 1.0
    assert moved[field.inside > 0].mean() > 5


def test_the_warp_is_continuous_at_the_outline(make_face: MakeFace) -> None:
    source, result = points_of(make_face(6)), points_of(make_face(7, yaw=4))
    field = mesh_warp(source, result, 256)
    jump = np.abs(np.diff(field.displacement, axis=0)).max(axis=-1)
    crossing = np.diff(field.inside.astype(int), axis=0) != 0
    assert np.percentile(jump[crossing], 90) < 1.0


def test_hidden_sides_are_unknown(make_face: MakeFace) -> None:
    left, right = make_face(8, yaw=-35), make_face(8, yaw=35)
    field = mesh_warp(points_of(left), points_of(right), 256)
    inside = field.inside > 0
    columns = np.argwhere(inside)[:, 1]
    middle = int(columns.mean())
    shown = np.where(inside, field.visible, np.nan)
    # The source looks left: its right cheek is seen, the other one is not.
    assert np.nanmean(shown[:, :middle]) < np.nanmean(shown[:, middle:])
    assert (field.visible[inside] < 0.1).mean() > 0.15
    easy = mesh_warp(points_of(left), points_of(make_face(8, yaw=-30)), 256)
    assert easy.visible[easy.inside > 0].mean() > 0.95


def test_a_closed_mouth_shows_no_teeth(make_face: MakeFace) -> None:
    face = combine(make_face(9), sliders=Sliders(expression={"jawOpen": 0.0}))
    opened = combine(face, sliders=Sliders(expression={"jawOpen": 0.8}))
    centre = points_of(opened)[list(LIPS_INNER), :2].mean(axis=0).astype(int)
    wide = mesh_warp(points_of(face), points_of(opened), 256)
    assert wide.visible[centre[1], centre[0]] < 0.1
    shut = mesh_warp(points_of(opened), points_of(opened), 256)
    assert shut.visible[centre[1], centre[0]] == 1


def test_mirrored_faces_give_mirrored_warps(make_face: MakeFace, model: ShapeModel) -> None:
    source, result = points_of(make_face(10, yaw=12)), points_of(make_face(11))
    mirror = model.mirror.numpy()

    def flip(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return points[mirror] * np.array([-1, 1, 1]) + np.array([256, 0, 0])

    plain = mesh_warp(source, result, 256)
    mirrored = mesh_warp(flip(source), flip(result), 256)
    error = mirrored.displacement[:, ::-1] * np.array([-1, 1]) - plain.displacement
    both = (plain.inside & mirrored.inside[:, ::-1]) > 0
    assert np.percentile(np.abs(error[both]).max(axis=-1), 95) < 0.5
    assert np.abs(mirrored.visible[:, ::-1] - plain.visible).mean() < 0.02


def test_larger_pictures_give_the_same_warp(make_face: MakeFace) -> None:
    source, result = points_of(make_face(12, yaw=-8)), points_of(make_face(13))
    small = mesh_warp(source, result, 256)
    large = mesh_warp(scale_points(source, 2), scale_points(result, 2), 512)
    pooled = large.displacement.reshape(256, 2, 256, 2, 2).mean(axis=(1, 3)) / 2
    error = np.abs(pooled - small.displacement).max(axis=-1)
    assert np.percentile(error[small.inside > 0], 95) < 0.5
    assert np.median(error) < 0.3


def test_sources_of_another_size(make_face: MakeFace, picture: Bytes) -> None:
    points = points_of(make_face(14))
    big = np.kron(picture, np.ones((4, 4, 1), np.uint8))
    field = mesh_warp(points * 4, points, 256, source_size=1024)
    assert field.source_size == (1024, 1024)
    shrunk = apply_warp(field, big).astype(int)
    inside = field.inside > 0
    assert np.abs(shrunk - picture)[inside].mean() < 1.5
    # The same field over a smaller copy of the source.
    half = apply_warp(field, big[::2, ::2], scale=0.5).astype(int)
    assert np.abs(half - picture)[inside].mean() < 3


def test_kinds_of_images(make_face: MakeFace, picture: Bytes) -> None:
    source, result = points_of(make_face(15)), points_of(make_face(16))
    field = mesh_warp(source, result, (256, 192))
    assert field.size == (256, 192)
    for image in (picture, picture[..., 0], picture.astype(np.float32)):
        out = apply_warp(field, image)
        assert out.dtype == image.dtype
        assert out.shape == (256, 192, *image.shape[2:])


def test_position_map(make_face: MakeFace, model: ShapeModel) -> None:
    points = points_of(make_face(17))
    drawn = render_position_map(points, 128 * 2)
    assert drawn.shape == (3, 256, 256)
    assert drawn.dtype == np.float32
    assert np.abs(drawn).max() <= 1
    nose = points[1, :2].astype(int)
    assert abs(drawn[0, nose[1], nose[0]]) < 0.05
    assert drawn[2, nose[1], nose[0]] < -0.6
    row = drawn[0, nose[1]]
    assert (np.diff(row[row != 0]) > -0.02).all()
    outside = region_polygon_mask(points + np.array([0, 0, 0]), "face", 256) == 0
    assert (drawn[:, outside] == 0).mean() > 0.97


def test_normals_face_the_camera(make_face: MakeFace) -> None:
    points = points_of(make_face(18))
    normals, mask = render_normals(points, 256)
    length = np.linalg.norm(normals, axis=0)
    assert np.allclose(length[mask > 0], 1, atol=1e-4)
    assert (length[mask == 0] == 0).all()
    assert normals[2][mask > 0].mean() < -0.6
    left, right = points[234], points[454]
    row = int((left[1] + right[1]) / 2)
    inner = np.flatnonzero(mask[row])
    assert normals[0, row, inner[2]] < 0 < normals[0, row, inner[-3]]


def test_visibility_of_points(make_face: MakeFace) -> None:
    turned = vertex_visibility(points_of(make_face(19, yaw=50)))
    # It looks to the right: the outline on the right of the picture is out of sight.
    assert turned[454] < 0.2
    assert turned[234] > 0.4
    assert ((turned >= 0) & (turned <= 1)).all()
    assert vertex_visibility(points_of(make_face(19)))[list(FACE_OVAL)].mean() < 0.7


def test_threads_agree(make_face: MakeFace) -> None:
    pairs = [(points_of(make_face(s)), points_of(make_face(s + 1, yaw=9))) for s in range(6)]
    alone = [mesh_warp(a, b, 128) for a, b in pairs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda pair: mesh_warp(*pair, 128), pairs))
    for one, two in zip(alone, together, strict=True):
        assert np.array_equal(one.map_xy, two.map_xy)
        assert np.array_equal(one.visible, two.visible)


def test_bad_points_are_refused(make_face: MakeFace) -> None:
    points = points_of(make_face(20))
    with pytest.raises(OptionError, match="478"):
        mesh_warp(points[:468], points, 64)
    broken = points.copy()
    broken[3, 1] = np.nan
    with pytest.raises(OptionError, match="no numbers"):
        mesh_warp(points, broken, 64)


def test_faces_outside_the_picture_do_no_harm(make_face: MakeFace) -> None:
    points = points_of(make_face(21))
    far = points + np.array([5000.0, 0, 0])
    field = mesh_warp(points, far, 64)
    assert field.inside.sum() == 0
    assert np.isfinite(field.map_xy).all()
    assert torch.isfinite(torch.from_numpy(field.visible)).all()
