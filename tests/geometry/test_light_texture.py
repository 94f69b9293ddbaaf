# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from facex.geometry.face_geometry import FaceGeometry
from facex.geometry.light_texture import (
    LIGHT_MIRROR,
    fit_light_texture,
    harmonics,
    irradiance,
    surface_normals,
    to_linear,
    vertex_colours,
)
from facex.geometry.raster import draw, interpolate
from facex.geometry.shape_model import ShapeModel

from .conftest import MakeFace, points_of

SIDE_LIGHT = [1.0, -0.1, -0.1, 0.35, 0.0, 0.0, 0.05, 0.0, 0.0]


def paint(face: FaceGeometry, model: ShapeModel, light: Tensor) -> Tensor:
    """Draw the mean albedo in a light: (1, 3, 256, 256)."""
    lit = model.albedo_mean * irradiance(light, surface_normals(face.landmarks))[0]
    srgb = torch.where(
        lit <= 0.0031308, lit * 12.92, 1.055 * lit.clamp_min(1e-6) ** (1 / 2.4) - 0.055
    )
    colours = torch.cat([srgb, torch.full((10, 3), 0.3)]).clamp(0, 1)
    drawing = draw(points_of(face), (256, 256))
    canvas = np.full((256 * 256, 3), 0.5, np.float32)
    canvas[drawing.pixels] = interpolate(drawing, colours.numpy())
    smooth = cv2.GaussianBlur(canvas.reshape(256, 256, 3), (0, 0), 0.5)
    return torch.from_numpy(smooth).permute(2, 0, 1)[None] * 2 - 1


@pytest.fixture
def side_light() -> Tensor:
    return torch.tensor([SIDE_LIGHT * 3])


def test_light_is_found(make_face: MakeFace, model: ShapeModel, side_light: Tensor) -> None:
    face = make_face(0, yaw=5)
    light, texture = fit_light_texture(paint(face, model, side_light), face.landmarks)
    assert light.shape == (1, 27)
    assert texture.shape == (1, 64)
    normals = surface_normals(face.landmarks)
    seen = normals[0, :, 2] < -0.5
    ratio = irradiance(light, normals)[0, seen] / irradiance(side_light, normals)[0, seen]
    assert (ratio - 1).abs().mean() < 0.06
    assert texture.abs().mean() < 0.5


def test_mirrored_photo_gives_mirrored_light(
    make_face: MakeFace, model: ShapeModel, side_light: Tensor
) -> None:
    face = make_face(1, yaw=-8, pitch=5)
    image = paint(face, model, side_light)
    points = face.landmarks[:, model.mirror] * torch.tensor([-1.0, 1, 1])
    points = points + torch.tensor([256.0, 0, 0])
    light, texture = fit_light_texture(image, face.landmarks)
    mirrored, same = fit_light_texture(image.flip(-1), points)
    signs = torch.tensor(LIGHT_MIRROR * 3)
    assert (mirrored * signs - light).norm() < 0.03 * light.norm()
    assert (same - texture).abs().max() < 0.05


def test_brighter_photos_have_more_light(
    make_face: MakeFace, model: ShapeModel, side_light: Tensor
) -> None:
    face = make_face(2)
    dark, _ = fit_light_texture(paint(face, model, side_light * 0.6), face.landmarks)
    bright, _ = fit_light_texture(paint(face, model, side_light), face.landmarks)
    assert bright[0, 0] > 1.2 * dark[0, 0]


def test_plain_light_changes_nothing() -> None:
    plain = torch.zeros(1, 27)
    plain[:, ::9] = 1
    normals = torch.nn.functional.normalize(torch.randn(1, 50, 3), dim=-1)
    assert torch.allclose(irradiance(plain, normals), torch.ones(1, 50, 3))


def test_harmonics_are_orthogonal() -> None:
    torch.manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(200_000, 3), dim=-1)
    values = harmonics(normals)
    gram = values.mT @ values / len(values)
    assert torch.allclose(gram, torch.eye(9), atol=0.03)


def test_colours_are_read_at_the_points() -> None:
    ramp = (torch.arange(64) + 0.5) / 64
    image = (ramp.expand(1, 3, 64, 64) * 2 - 1).contiguous()
    points = torch.rand(1, 478, 3) * 60 + 2
    found = vertex_colours(image, points)
    assert torch.allclose(found[..., 0], points[..., 0] / 64, atol=1e-4)
    assert to_linear(torch.tensor(0.5)).item() == pytest.approx(0.2140, abs=1e-3)
