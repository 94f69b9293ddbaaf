# SPDX-License-Identifier: Apache-2.0
"""Mesh to mesh: carry a photo's pixels from its own mesh to the result's (DESIGN 4, 5).

The warp is a displacement: where two meshes agree it is exactly zero, so an edit that asks for
nothing returns the photo's own bytes. Inside the mesh it is affine per triangle; below the lids the
eyeball moves as one piece; outside the mesh :mod:`facex.geometry.extend` continues it. What the
source cannot show (turned away, hidden, closed, stretched beyond use) is marked as not visible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.errors import OptionError
from facex.geometry.extend import extend as extend_outside
from facex.geometry.extend import smoothstep
from facex.geometry.raster import (
    Drawing,
    draw,
    interpolate,
    vertex_normals,
    vertex_visibility,
)
from facex.geometry.shape_model import Mesh, ShapeModel, bundled_mesh, mesh_of
from facex.geometry.topology import EYES, IRISES, POINT_COUNT
from facex.geometry.visibility import (
    EYE_SHUT,
    SourceBuffer,
    area_ratios,
    eye_openness,
    inside_opening,
    mouth_visibility,
    surface_visibility,
)

__all__ = [
    "WarpField",
    "apply_warp",
    "mesh_warp",
    "render_normals",
    "render_position_map",
    "scale_points",
    "vertex_visibility",
]

_POSITION_CENTRE: Final = (0.0, 0.45, 0.2)
_POSITION_RANGE: Final = (1.25, 1.4, 0.95)

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class WarpField:
    """Where every pixel of the result comes from.

    Attributes:
        map_xy: (H, W, 2) float32 source coordinates in source pixels (centres at +.5).
        inside: (H, W) uint8, 1 where the result's mesh is drawn.
        visible: (H, W) float32 in [0, 1]: how far the source shows what belongs there.
        stretch: (H, W) float32, area in the result over area in the source, 0 where it folds.
        source_size: (height, width) of the picture that the map points into.
    """

    map_xy: Floats
    inside: Bytes
    visible: Floats
    stretch: Floats
    source_size: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the result."""
        height, width = self.inside.shape
        return height, width

    @property
    def displacement(self) -> Floats:
        """(H, W, 2) source minus result coordinates."""
        return self.map_xy - _centres(self.size)


def scale_points(points: NDArray[np.floating], factor: float) -> Doubles:
    """Landmarks (478, 3) for a picture ``factor`` times as large."""
    return np.asarray(points, np.float64) * factor


def mesh_warp(
    source_points: NDArray[np.floating],
    result_points: NDArray[np.floating],
    out_size: int | tuple[int, int],
    *,
    source_size: int | tuple[int, int] | None = None,
    extend: bool = True,
    anchor_far: bool = False,
    mesh: Mesh | None = None,
) -> WarpField:
    """The warp from a source's mesh to the result's mesh.

    Args:
        source_points: (478, 3) in pixels of the source.
        result_points: (478, 3) in pixels of the result.
        out_size: side or (height, width) of the result.
        source_size: the same of the source; the result's by default.
        extend: continue the warp outside the mesh; otherwise the outside is not visible.
        anchor_far: with ``extend``: background, shoulders and the picture's border stay in place.
            For edits of one photo; not for carrying a head into another photo.
        mesh: triangles; the bundled mesh by default.

    Returns:
        The field. Where both meshes agree the map is the identity exactly.

    Raises:
        OptionError: the points have another shape or are not finite.
    """
    mesh = mesh or bundled_mesh()
    source, result = _checked(source_points), _checked(result_points)
    size = _pair(out_size)
    source_hw = size if source_size is None else _pair(source_size)
    drawing = draw(result, size, mesh)
    inside = (drawing.triangle >= 0).astype(np.uint8)
    if np.array_equal(source, result):
        visible = np.ones(size, np.float32) if extend else inside.astype(np.float32)
        return WarpField(_centres(size), inside, visible, np.ones(size, np.float32), source_hw)
    displacement = np.zeros((*size, 2), np.float32)
    visible = np.zeros(size, np.float32)
    stretch = np.ones(size, np.float32)

    areas = area_ratios(source, result, mesh)
    stretch.reshape(-1)[drawing.pixels] = areas[drawing.covering]
    buffer = SourceBuffer(source, source_hw, mesh)
    point_seen, usable = surface_visibility(source, result, mesh, areas)
    # Displacement, source depth and visibility of the points, interpolated in one go.
    per_point = np.column_stack([source[:, :2] - result[:, :2], source[:, 2], point_seen])
    values = interpolate(drawing, per_point, mesh)
    shift, opening = _openings(source, result, drawing, mesh, values[:, :2], source_hw)
    displacement.reshape(-1, 2)[drawing.pixels] = shift
    shown = np.clip(values[:, 3], 0, 1) * usable[drawing.covering] * opening
    shown *= buffer.uncovered(drawing, shift, values[:, 2])
    visible.reshape(-1)[drawing.pixels] = shown

    xy = _centres(size)
    if extend:
        distance, labels = cv2.distanceTransformWithLabels(
            1 - inside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        beyond = extend_outside(source, result, mesh, distance, anchor_far=anchor_far)
        _fill_outside(displacement, inside, beyond.displacement, drawing.pixels, distance, labels)
        xy += displacement
        free = inside == 0
        np.copyto(stretch, beyond.stretch, where=free)
        shows = beyond.shown * ~buffer.on_face(xy)
        np.copyto(visible, shows, where=free)
    else:
        xy += displacement
    x, y = xy[..., 0], xy[..., 1]
    visible *= (x >= 0) & (y >= 0) & (x <= source_hw[1]) & (y <= source_hw[0])
    return WarpField(xy, inside, visible, stretch, source_hw)


def apply_warp(
    field: WarpField,
    image: NDArray[np.generic],
    *,
    scale: float = 1.0,
    cubic: bool = False,
) -> NDArray[np.generic]:
    """Draw an image through a warp.

    Args:
        field: where pixels come from.
        image: (h, w) or (h, w, C) uint8 or float32.
        scale: image pixels per source pixel of the field (for an image of another resolution).
        cubic: bicubic instead of bilinear: sharper where the source is enlarged.

    Returns:
        (H, W[, C]) of the image's type; the border repeats outside the source.
    """
    picture = np.ascontiguousarray(image)
    shrink = scale / np.sqrt(_typical_stretch(field))
    # Bilinear sampling skips pixels when it shrinks by more than two: go down a pyramid first.
    while shrink > 2 and min(picture.shape[:2]) > 8:
        height, width = picture.shape[0] // 2, picture.shape[1] // 2
        scale *= width / picture.shape[1]
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        shrink /= 2
    xy = field.map_xy * np.float32(scale) - np.float32(0.5)
    kind = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    return cv2.remap(picture, xy, None, kind, borderMode=cv2.BORDER_REPLICATE)


def draw_warped(field: WarpField, image: Floats) -> Floats:
    """An image of any resolution through a warp."""
    scale = image.shape[1] / field.source_size[1]
    return np.asarray(apply_warp(field, image, scale=scale), np.float32)


def render_position_map(
    points: NDArray[np.floating], size: int | tuple[int, int], model: ShapeModel | None = None
) -> Floats:
    """Which place of the mean face every pixel shows.

    Args:
        points: (478, 3) in pixels of the map.
        size: side or (height, width).
        model: the shape model; the bundled one by default.

    Returns:
        (3, H, W) float32: canonical x, y, z scaled to [-1, 1], 0 outside the mesh.
    """
    mesh = bundled_mesh() if model is None else mesh_of(model)
    drawing = draw(_checked(points), _pair(size), mesh)
    values = (mesh.mean - np.array(_POSITION_CENTRE)) / np.array(_POSITION_RANGE)
    inner = np.clip(interpolate(drawing, values, mesh), -1, 1)
    return _scatter(inner, drawing)


def render_normals(
    points: NDArray[np.floating], size: int | tuple[int, int], mesh: Mesh | None = None
) -> tuple[Floats, Bytes]:
    """Surface normals of the drawn mesh.

    Returns:
        (3, H, W) float32 unit outward normals in the camera frame (x right, y down, z below 0
        towards the camera), 0 outside; (H, W) uint8 mask of the mesh.
    """
    mesh = mesh or bundled_mesh()
    points = _checked(points)
    drawing = draw(points, _pair(size), mesh)
    normals = interpolate(drawing, vertex_normals(points, mesh), mesh)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    return _scatter(normals, drawing), (drawing.triangle >= 0).astype(np.uint8)


def _scatter(values: Floats, drawing: Drawing) -> Floats:
    height, width = drawing.triangle.shape
    result = np.zeros((values.shape[1], height * width), np.float32)
    result[:, drawing.pixels] = values.T
    return result.reshape(-1, height, width)


def _checked(points: NDArray[np.floating]) -> Doubles:
    array = np.asarray(points, np.float64)
    if array.shape != (POINT_COUNT, 3):
        raise OptionError(f"landmarks must be ({POINT_COUNT}, 3), got {array.shape}")
    if not np.isfinite(array).all():
        raise OptionError("landmarks hold values that are no numbers")
    return array


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _centres(size: tuple[int, int]) -> Floats:
    rows = np.arange(size[0], dtype=np.float32)[:, None] + np.float32(0.5)
    columns = np.arange(size[1], dtype=np.float32)[None] + np.float32(0.5)
    return np.stack(np.broadcast_arrays(columns, rows), axis=-1)


def _typical_stretch(field: WarpField) -> float:
    inner = field.stretch[field.inside > 0]
    usable = inner[inner > 0]
    return float(np.median(usable)) if usable.size else 1.0


def _openings(
    source: Doubles,
    result: Doubles,
    drawing: Drawing,
    mesh: Mesh,
    shift: Floats,
    source_hw: tuple[int, int],
) -> tuple[Floats, Floats]:
    """Eyes and mouth: their displacement (n, 2) and how far the source shows them (n,)."""
    shift = shift.copy()
    shown = np.ones(len(shift), np.float32)
    mouth_visibility(shown, source, result, mesh.mouth[drawing.covering])
    in_eye = mesh.eye[drawing.covering]
    # An eye triangle's corners are all of one eye: the first corner says which.
    first = mesh.triangles[:, 0][drawing.covering]
    for eye, iris in zip(EYES, IRISES, strict=True):
        at = np.flatnonzero(in_eye & np.isin(first, eye))
        moving = list(eye + iris)
        if at.size == 0 or np.array_equal(source[moving], result[moving]):
            continue
        if eye_openness(source[list(eye)]) < EYE_SHUT:
            # A lid is no eyeball: it does not turn with the look.
            continue
        xy = np.stack([drawing.x[at], drawing.y[at]], axis=1)
        shift[at] = _eyeball(source, result, iris, xy, shift[at])
        shown[at] = inside_opening(source[list(eye), :2], xy + shift[at], source_hw)
    return shift, shown


def _eyeball(
    source: Doubles, result: Doubles, iris: tuple[int, ...], xy: Floats, lids: Floats
) -> Floats:
    """The iris moves as one piece below the lids; the white gives way towards the corners."""
    centre_source, centre = source[iris[0], :2], result[iris[0], :2]
    ring_source = source[list(iris[1:]), :2] - centre_source
    ring = result[list(iris[1:]), :2] - centre
    gram = ring.T @ ring
    change = np.linalg.solve(gram + 1e-9 * np.eye(2), ring.T @ (ring_source - ring)).T
    offset = xy - centre
    rigid = offset @ change.T + (centre_source - centre)
    radius = float(np.linalg.norm(ring, axis=1).mean())
    weight = 1 - smoothstep(1.05, 2.0, np.linalg.norm(offset, axis=1) / max(radius, 1e-6))
    return (lids + weight[:, None] * (rigid - lids)).astype(np.float32)


def _fill_outside(
    displacement: Floats,
    inside: Bytes,
    beyond: Floats,
    pixels: NDArray[np.intp],
    distance: Floats,
    labels: NDArray[np.int32],
) -> None:
    """Write the extension outside the mesh, without a step where the outline is a real edge."""
    np.copyto(displacement, beyond, where=(inside == 0)[..., None])
    if pixels.size == 0:
        return
    reach = 0.06 * max(inside.shape)
    band = np.flatnonzero((distance.ravel() > 0) & (distance.ravel() < reach))
    flat = labels.ravel()
    nearest = np.zeros(int(flat.max()) + 1, np.intp)
    nearest[flat[pixels]] = pixels
    edge = nearest[flat[band]]
    step = displacement.reshape(-1, 2)[edge] - beyond.reshape(-1, 2)[edge]
    # A large step is an occlusion: the cheek hides what lies behind it.
    size = float(max(inside.shape))
    weight = 1 - smoothstep(0.01 * size, 0.03 * size, np.hypot(step[:, 0], step[:, 1]))
    weight *= 1 - smoothstep(0.0, reach, distance.ravel()[band])
    displacement.reshape(-1, 2)[band] += step * weight[:, None]
