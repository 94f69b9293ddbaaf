# SPDX-License-Identifier: Apache-2.0
"""Drawing the mesh: which triangle covers a pixel, and values interpolated over it.

Everything here is numpy on one face; functions hold no state and may run in threads.
"""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.geometry.shape_model import Mesh, bundled_mesh

_SHIFT: Final = 4
_MIN_AREA: Final = 1e-3
"""Twice the area, in square pixels, below which a triangle is not drawn."""

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


class Drawing(NamedTuple):
    """A rasterised mesh.

    Attributes:
        triangle: (H, W) int32 index of the nearest triangle that faces the camera, -1 where none.
        pixels: (n,) flat indices of the covered pixels.
        covering: (n,) triangle of each.
        weights: (n, 2) float32 barycentric weights of the triangle's second and third corner.
        x, y: (n,) float32 centres of the covered pixels.
    """

    triangle: NDArray[np.int32]
    pixels: NDArray[np.intp]
    covering: NDArray[np.int32]
    weights: Floats
    x: Floats
    y: Floats


def signed_areas(corners: Doubles) -> Doubles:
    """Twice the signed area (T,) of triangles (T, 3, 2+); positive ones face the camera."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def triangle_map(
    points: Doubles, size: tuple[int, int], mesh: Mesh | None = None
) -> NDArray[np.int32]:
    """Painter's algorithm: the nearest front-facing triangle of each pixel.

    Args:
        points: (478, 3) in pixels of the drawing.
        size: (height, width).
        mesh: triangles; the bundled mesh by default.

    Returns:
        (H, W) int32, -1 outside the mesh.
    """
    mesh = mesh or bundled_mesh()
    corners = points[mesh.triangles]
    drawn = np.flatnonzero(signed_areas(corners) > _MIN_AREA)
    # Mouth and eye openings lie behind lips and lids.
    depth = corners[drawn, :, 2].mean(axis=1)
    order = drawn[np.argsort(-depth, kind="stable")]
    # OpenCV puts pixel centres at whole numbers, FaceX at one half.
    flat = np.clip(corners[order, :, :2] - 0.5, -8000, 8000) * (1 << _SHIFT)
    polygons = np.round(flat).astype(np.int32)
    result = np.full(size, -1, np.int32)
    fill = cv2.fillConvexPoly
    for index, polygon in zip(order.tolist(), polygons, strict=True):
        fill(result, polygon, index, 8, _SHIFT)
    return result


def draw(points: Doubles, size: tuple[int, int], mesh: Mesh | None = None) -> Drawing:
    """Rasterise the mesh and find every covered pixel's place in its triangle."""
    mesh = mesh or bundled_mesh()
    triangle = triangle_map(points, size, mesh)
    pixels = np.flatnonzero(triangle.ravel() >= 0)
    covering = triangle.ravel()[pixels]
    rows, columns = np.divmod(pixels, size[1])
    x, y = (columns + 0.5).astype(np.float32), (rows + 0.5).astype(np.float32)
    # Edges cover a pixel more than the triangle does: slivers must not extrapolate wildly.
    weights = _weights(points[mesh.triangles], covering, x, y)
    np.clip(weights, -0.2, 1.2, out=weights)
    return Drawing(triangle, pixels, covering, weights, x, y)


def _weights(corners: Doubles, covering: NDArray[np.int32], x: Floats, y: Floats) -> Floats:
    a = corners[:, 1, :2] - corners[:, 0, :2]
    b = corners[:, 2, :2] - corners[:, 0, :2]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    safe = np.where(np.abs(area) > _MIN_AREA, area, np.inf)
    table = np.stack(
        [corners[:, 0, 0], corners[:, 0, 1], b[:, 1] / safe, -b[:, 0] / safe, -a[:, 1] / safe,
         a[:, 0] / safe], axis=1,
    ).astype(np.float32)  # fmt: skip
    row = table[covering]
    dx, dy = x - row[:, 0], y - row[:, 1]
    return np.stack([dx * row[:, 2] + dy * row[:, 3], dx * row[:, 4] + dy * row[:, 5]], axis=1)


def interpolate(drawing: Drawing, values: NDArray[np.floating], mesh: Mesh | None = None) -> Floats:
    """Per-vertex values (478, C) at the covered pixels: (n, C) float32."""
    mesh = mesh or bundled_mesh()
    corners = values[mesh.triangles].astype(np.float32)
    first = corners[:, 0]
    steps = corners[:, 1:] - first[:, None]
    table = np.concatenate([first, steps[:, 0], steps[:, 1]], axis=1)[drawing.covering]
    channels = first.shape[1]
    result = table[:, :channels]
    result = result + table[:, channels : 2 * channels] * drawing.weights[:, :1]
    result += table[:, 2 * channels :] * drawing.weights[:, 1:]
    return result


@functools.lru_cache(maxsize=4)
def _incidence(shape: tuple[int, ...], raw: bytes) -> Floats:
    triangles = np.frombuffer(raw, np.int64).reshape(shape)
    table = np.zeros((int(triangles.max()) + 1, len(triangles)), np.float32)
    for corner in range(3):
        table[triangles[:, corner], np.arange(len(triangles))] = 1
    return table


def vertex_normals(points: NDArray[np.floating], mesh: Mesh | None = None) -> Floats:
    """Outward unit normals of the mesh's points.

    Args:
        points: (478, 3).
        mesh: triangles; the bundled mesh by default.

    Returns:
        (478, 3) float32 in the camera frame (z below 0 towards the camera); irises get (0, 0, -1).
    """
    mesh = mesh or bundled_mesh()
    surface = mesh.triangles[~(mesh.mouth | mesh.eye)]
    corners = points[surface]
    faces = np.cross(corners[:, 2] - corners[:, 0], corners[:, 1] - corners[:, 0])
    table = _incidence(surface.shape, surface.tobytes())
    normals = np.zeros((len(points), 3), np.float32)
    normals[: len(table)] = table @ faces.astype(np.float32)
    normals[len(table) :, 2] = -1
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.maximum(length, 1e-9)


def vertex_visibility(
    points: NDArray[np.floating], mesh: Mesh | None = None, *, resolution: int = 128
) -> Floats:
    """How well the camera sees each point.

    Args:
        points: (478, 3) in any pixels.
        mesh: triangles; the bundled mesh by default.
        resolution: side of the depth buffer.

    Returns:
        (478,) float32 in [0, 1]: the cosine of the view's angle, 0 where turned away or hidden.
    """
    mesh = mesh or bundled_mesh()
    points = np.asarray(points, np.float64)
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    scale = (resolution - 4) / max(float((high - low).max()), 1e-6)
    fitted = (points - np.array([low[0], low[1], 0.0])) * scale + np.array([2.0, 2.0, 0.0])
    shown = triangle_map(fitted, (resolution, resolution), mesh)
    column = np.clip(fitted[:, 0].astype(np.intp), 0, resolution - 1)
    row = np.clip(fitted[:, 1].astype(np.intp), 0, resolution - 1)
    top = shown[row, column]
    depth = plane_depth(fitted, mesh, np.maximum(top, 0), fitted[:, 0], fitted[:, 1])
    hidden = (top >= 0) & (depth < fitted[:, 2] - 0.04 * resolution)
    facing = np.clip(-vertex_normals(points, mesh)[:, 2], 0, 1)
    return np.where(hidden, 0, facing).astype(np.float32)


def plane_depth(
    points: Doubles,
    mesh: Mesh,
    triangle: NDArray[np.integer],
    x: NDArray[np.floating],
    y: NDArray[np.floating],
) -> Floats:
    """Depth of triangles (n,) at places x, y (n,), kept within the triangle's own depths."""
    corners = points[mesh.triangles]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    safe = np.where(np.abs(area) > _MIN_AREA, area, np.inf)
    gx = (a[:, 2] * b[:, 1] - b[:, 2] * a[:, 1]) / safe
    gy = (b[:, 2] * a[:, 0] - a[:, 2] * b[:, 0]) / safe
    depths = corners[..., 2]
    table = np.stack(
        [corners[:, 0, 0], corners[:, 0, 1], corners[:, 0, 2], gx, gy, depths.min(axis=1),
         depths.max(axis=1)], axis=1,
    ).astype(np.float32)[triangle]  # fmt: skip
    depth = table[:, 2] + (x - table[:, 0]) * table[:, 3] + (y - table[:, 1]) * table[:, 4]
    return np.clip(depth, table[:, 5], table[:, 6]).astype(np.float32)
