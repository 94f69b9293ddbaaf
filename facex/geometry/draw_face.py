# SPDX-License-Identifier: Apache-2.0
"""A face drawn from mesh, albedo and light: no photo is needed, only its representation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from facex.geometry.face_chart import face_chart, looked_up
from facex.geometry.light_texture import irradiance, surface_normals
from facex.geometry.raster import draw, interpolate
from facex.geometry.shape_model import bundled_mesh
from facex.geometry.topology import POINT_COUNT, SURFACE_COUNT

Floats = NDArray[np.float32]


def draw_face(
    albedo: Floats, light: Floats, points: NDArray[np.floating], size: int
) -> tuple[Floats, Floats]:
    """Draw an albedo on a mesh, lit.

    Args:
        albedo: (M, 3) linear, at the texels of :func:`facex.geometry.face_chart.face_chart`.
        light: (27,), see :func:`facex.geometry.light_texture.irradiance`.
        points: (478, 3) in pixels.
        size: side of the picture.

    Returns:
        (S, S, 3) sRGB in [0, 1], and (S, S), 1 where the face is; the open mouth is left out.
    """
    chart, mesh = face_chart(), bundled_mesh()
    drawing = draw(np.asarray(points, np.float64), (size, size), mesh)
    keep = ~mesh.mouth[drawing.covering]
    image, shown = np.zeros((size * size, 3), np.float32), np.zeros(size * size, np.float32)
    place = (chart.at(drawing, mesh)[keep] - 0.5).astype(np.float32)
    # Square roots look about even, so that is where a texture is stretched.
    root = looked_up(np.sqrt(chart.picture(albedo)), place)
    normals = np.zeros((POINT_COUNT, 3), np.float32)
    normals[:SURFACE_COUNT] = surface_normals(torch.from_numpy(np.float32(points))[None])[0]
    normals[SURFACE_COUNT:, 2] = -1
    at = interpolate(drawing, normals, mesh)[keep].astype(np.float32)
    at /= np.maximum(np.linalg.norm(at, axis=1, keepdims=True), 1e-6)
    lamp = torch.from_numpy(np.asarray(light, np.float32))[None]
    lit = irradiance(lamp, torch.from_numpy(at)[None])[0].numpy()
    pixels = drawing.pixels[keep]
    image[pixels], shown[pixels] = to_srgb(np.clip(root, 0, None) ** 2 * lit), 1
    return image.reshape(size, size, 3), shown.reshape(size, size)


def to_srgb(linear: Floats) -> Floats:
    """Linear light to sRGB in [0, 1]."""
    linear = np.clip(linear, 0, 1)
    high = 1.055 * np.power(np.maximum(linear, 1e-6), 1 / 2.4) - 0.055
    return np.asarray(np.where(linear <= 0.0031308, linear * 12.92, high), np.float32)
