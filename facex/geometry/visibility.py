# SPDX-License-Identifier: Apache-2.0
"""What a source photo can show of the result: angle, stretch, occlusion, open mouth and eyes."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.geometry.extend import smoothstep
from facex.geometry.raster import Drawing, plane_depth, signed_areas, triangle_map, vertex_normals
from facex.geometry.shape_model import Mesh
from facex.geometry.topology import IRIS_CENTRES, LIPS_INNER, POINT_COUNT

_BUFFER: Final = 256
"""Largest side of the source's depth buffer: occlusion is a coarse thing."""
_STRETCH_SOFT: Final = 3.0
_STRETCH_HARD: Final = 7.0
"""Area growth, relative to the whole face's, where a texture begins to be useless and is."""

EYE_SHUT: Final = 0.16
"""Height over width below which an eye shows no iris: where it looks cannot be seen or changed."""

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def mouth_visibility(
    shown: Floats, source: Doubles, result: Doubles, mouth: NDArray[np.bool_]
) -> None:
    """A closed mouth shows no teeth: mark the inside unknown where the result opens it."""
    unit = np.square(result[IRIS_CENTRES[0]] - result[IRIS_CENTRES[1]]).sum()
    unit_source = np.square(source[IRIS_CENTRES[0]] - source[IRIS_CENTRES[1]]).sum()
    ring = list(LIPS_INNER)
    here = _polygon_area(result[ring]) / max(unit, 1e-6)
    there = _polygon_area(source[ring]) / max(unit_source, 1e-6)
    shown[mouth] *= smoothstep(0.25, 0.6, np.array((there + 0.004) / (here + 0.004)))


def _polygon_area(points: Doubles) -> float:
    x, y = points[:, 0], points[:, 1]
    return abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())) / 2


def inside_opening(ring: Doubles, xy: Floats, source_hw: tuple[int, int]) -> Floats:
    """1 where source places (n, 2) lie between the source's lids, soft over a pixel or so."""
    # Signed distance on a small raster of the eye alone; far cheaper than the whole picture.
    low = ring.min(axis=0) - 3
    extent = ring.max(axis=0) + 3 - low
    factor = min(4.0, 160 / max(float(extent.max()), 1e-6))
    shape = np.maximum(np.ceil(extent * factor).astype(int), 2)
    mask = np.zeros((shape[1], shape[0]), np.uint8)
    cv2.fillPoly(mask, [np.round((ring - low) * factor * 16 - 8).astype(np.int32)], 1, 8, 4)
    inner = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    outer = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 3)
    place = ((xy - low) * factor).astype(np.float32) - np.float32(0.5)
    signed = cv2.remap(
        inner - outer, place[:, None], None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )[:, 0]
    soft = max(source_hw) / 256 * factor
    return smoothstep(-1.2 * soft, 0.0, signed)


def eye_openness(lids: Doubles) -> float:
    """Height over width of an eye, of the points (16, 2+) around its opening."""
    across = lids[8, :2] - lids[0, :2]
    width = max(float(np.linalg.norm(across)), 1e-3)
    normal = np.array([-across[1], across[0]]) / width
    return float(np.ptp(lids[:, :2] @ normal)) / width


def iris_disc(points: Doubles, iris: tuple[int, ...]) -> tuple[Doubles, float]:
    """Centre (2,) and radius, at least 1, of an iris: its centre and ring of points (N, 2+)."""
    centre = points[iris[0], :2]
    return centre, max(float(np.linalg.norm(points[list(iris[1:]), :2] - centre, axis=1).mean()), 1)


def area_ratios(source: Doubles, result: Doubles, mesh: Mesh) -> Floats:
    """Area in the result over area in the source of every triangle (T,).

    0 where only the source's triangle is turned away, -1 where the result's is.
    """
    here, there = (signed_areas(points[mesh.triangles]) for points in (source, result))
    ratio = np.where(here > 0, there / np.maximum(here, 1e-6), 0)
    return np.where(there > 0, ratio, -1).astype(np.float32)


def surface_visibility(
    source: Doubles, result: Doubles, mesh: Mesh, areas: Floats
) -> tuple[Doubles, Floats]:
    """How well the source shows the surface.

    Returns:
        Per point (478,): seen under a good angle and not stretched beyond use; per triangle (T,):
        0 where it is of no use at all, else 1.
    """
    seen = np.clip(-vertex_normals(source, mesh)[:, 2], 0, 1) + 0.05
    wanted = np.clip(-vertex_normals(result, mesh)[:, 2], 0, 1) + 0.05
    angle = smoothstep(0.12, 0.4, seen / wanted)
    corners = mesh.triangles
    drawn = areas[areas > 0]
    typical = float(np.median(drawn)) if drawn.size else 1.0
    usable = 1 - smoothstep(_STRETCH_SOFT, _STRETCH_HARD, areas / max(typical, 1e-6))
    # Openings change their area freely; lids and lips have their own tests.
    opening = mesh.mouth | mesh.eye
    usable[opening] = 1
    usable[(areas <= 0) & ~opening] = 0
    drawn_too = np.repeat(areas >= 0, 3).astype(np.float64)
    # Per point, so that neighbours blend instead of showing triangles.
    total = np.bincount(corners.ravel(), np.repeat(usable, 3) * drawn_too, POINT_COUNT)
    count = np.maximum(np.bincount(corners.ravel(), drawn_too, POINT_COUNT), 1)
    return angle * total / count, (usable > 0).astype(np.float32)


class SourceBuffer:
    """The source's own mesh drawn once: answers what hides what, and where its face is."""

    def __init__(self, source: Doubles, size: tuple[int, int], mesh: Mesh) -> None:
        self._factor = min(1.0, _BUFFER / max(size))
        self._points = source * self._factor
        self._mesh = mesh
        small = (max(1, round(size[0] * self._factor)), max(1, round(size[1] * self._factor)))
        self._drawn = triangle_map(self._points, small, mesh)
        right, left = (self._points[i] for i in IRIS_CENTRES)
        self._unit = float(np.linalg.norm(right - left))

    def uncovered(self, drawing: Drawing, shift: Floats, depth: Floats) -> Floats:
        """(n,): 1 where nothing of the face lies in front of the source's surface."""
        x = (drawing.x + shift[:, 0]) * np.float32(self._factor)
        y = (drawing.y + shift[:, 1]) * np.float32(self._factor)
        top = self._at(self._drawn, x, y)
        front = plane_depth(self._points, self._mesh, np.maximum(top, 0), x, y)
        behind = (depth * np.float32(self._factor) - front) / max(self._unit, 1e-6)
        result = 1 - smoothstep(0.06, 0.14, behind)
        result[(top < 0) | (top == drawing.covering)] = 1
        return result

    def on_face(self, xy: Floats) -> NDArray[np.bool_]:
        """(H, W): the place lies well inside the source's drawn mesh."""
        face = (self._drawn >= 0).astype(np.uint8)
        margin = max(1, round(0.04 * self._unit))
        core = cv2.erode(face, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
        scaled = xy * np.float32(self._factor)
        return self._at(core, scaled[..., 0], scaled[..., 1]) > 0

    @staticmethod
    def _at(table: NDArray[Any], x: Floats, y: Floats) -> NDArray[Any]:
        column = np.clip(x, 0, table.shape[1] - 1).astype(np.intp)
        row = np.clip(y, 0, table.shape[0] - 1).astype(np.intp)
        return table[row, column]
