# SPDX-License-Identifier: Apache-2.0
"""The warp outside the mesh: hair, ears and neck follow the face, the rest of the head turns.

Far from the face a head behaves like a ball that turns about :data:`HEAD_CENTRE`: its outline
keeps its place, so the picture there moves by a plane similarity only (position, size, roll).
At the face's outline the picture moves with the outline. Between the two the difference is spread
by inverse distances and fades; the fade is as wide as the motion needs to stay free of folds.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from facex.geometry.pose import fit_pose
from facex.geometry.shape_model import Mesh
from facex.geometry.topology import FACE_OVAL, STABLE_POINTS, SURFACE_COUNT

HEAD_CENTRE: Final[tuple[float, float, float]] = (0.0, 0.55, 1.15)
"""Where a head turns, in canonical units: between the ear lobes, a little in front of the neck.

Measured from the midpoint of the pupils: half a pupil distance down and one behind."""

_CELLS: Final = 44
_NEAR: Final = 1.0
"""Least width of the fade, in pupil distances."""
_FOLD_MARGIN: Final = 2.2

_STILL_SHARE: Final = 0.1
"""With more of the face's points than this in place, the head has not moved."""
_STRETCH_SOFT: Final = 7.0
_STRETCH_HARD: Final = 14.0
"""Area growth where what lies outside the face begins to be useless and is."""

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


class Similarity(NamedTuple):
    """How the head as a whole moves from the result to the source, in the picture's plane.

    Attributes:
        matrix: (2, 2); source - source_centre = matrix @ (result - result_centre).
        source_centre, result_centre: (2,) pixels, where the head turns.
        unit: pixels of the result per pupil distance.
    """

    matrix: Doubles
    source_centre: Doubles
    result_centre: Doubles
    unit: float

    def displacement(self, xy: NDArray[np.floating]) -> Doubles:
        """Source minus result (n, 2) at result pixels (n, 2); exactly 0 for equal poses."""
        offset = xy - self.result_centre
        moved = offset @ (self.matrix - np.eye(2)).T
        return moved + (self.source_centre - self.result_centre)


def head_similarity(source: Doubles, result: Doubles, mesh: Mesh) -> Similarity:
    """The plane similarity between two posed faces (478, 3)."""
    stable = list(STABLE_POINTS)
    both = torch.from_numpy(np.stack([source[stable], result[stable]]))
    pose = fit_pose(both, torch.from_numpy(mesh.mean[stable]))
    rotation, scale = pose.rotation.numpy(), pose.scale.numpy()
    centres = scale[:, None] * (rotation @ np.array(HEAD_CENTRE))[:, :2] + pose.translation.numpy()
    moved = np.hypot(*(source - result)[:SURFACE_COUNT, :2].T)
    # An expression moves a part of the face, a turn moves every point of it.
    if np.mean(moved < 1e-3 * scale[1]) > _STILL_SHARE:
        return Similarity(np.eye(2), centres[1], centres[1], float(scale[1]))
    between = (rotation[0] @ rotation[1].T)[:2, :2]
    roll = np.arctan2(between[1, 0] - between[0, 1], between[0, 0] + between[1, 1])
    ratio = scale[0] / scale[1]
    matrix = ratio * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return Similarity(matrix, centres[0], centres[1], float(scale[1]))


class Extension(NamedTuple):
    """The warp outside the mesh.

    Attributes:
        displacement: (H, W, 2) float32, source minus result pixels.
        stretch: (H, W) float32, result area over source area; 0 where the warp folds.
        shown: (H, W) float32, 0 where it folds or stretches beyond use, else 1.
    """

    displacement: Floats
    stretch: Floats
    shown: Floats


def ramp(value: float, low: float, high: float) -> float:
    """Straight rise from 0 at ``low`` to 1 at ``high``."""
    return float(np.clip((value - low) / (high - low), 0, 1))


def smoothstep(low: float, high: float, value: NDArray[np.floating]) -> Floats:
    """Smooth rise from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((np.asarray(value, np.float32) - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def extend(
    source: Doubles,
    result: Doubles,
    mesh: Mesh,
    distance: Floats,
    *,
    anchor_far: bool,
) -> Extension:
    """Continue the displacement of the face's outline over the whole picture.

    Args:
        source: (478, 3) in source pixels, scaled to the result's size.
        result: (478, 3) in result pixels.
        mesh: the mean shape, for the poses.
        distance: (H, W) float32, pixels to the drawn mesh, 0 on it.
        anchor_far: bring the displacement to 0 far from the head and at the picture's border.

    Returns:
        Displacement and stretch of every pixel (only those outside are meant to be used).
    """
    height, width = distance.shape
    similarity = head_similarity(source, result, mesh)
    longest = max(height, width)
    cells = (max(2, height * _CELLS // longest), max(2, width * _CELLS // longest))
    rows = (np.arange(cells[0]) + 0.5) * height / cells[0]
    columns = (np.arange(cells[1]) + 0.5) * width / cells[1]
    grid = np.stack(np.meshgrid(columns, rows), axis=-1)
    # Linear sampling at the cells' centres, so that enlarging the grid puts them back there.
    away = cv2.remap(
        distance,
        (grid[..., 0] - 0.5).astype(np.float32),
        (grid[..., 1] - 0.5).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    away /= np.float32(similarity.unit)
    total = _grid_displacement(source, result, similarity, grid, away)
    if anchor_far:
        total *= _anchor(grid, total, away, similarity, (height, width))[..., None]
    stretch = _stretch(total, height / cells[0], width / cells[1])
    shown = (stretch > 0) * (1 - smoothstep(_STRETCH_SOFT, _STRETCH_HARD, stretch))

    def enlarge(values: NDArray[np.floating]) -> Floats:
        return cv2.resize(
            values.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
        )

    return Extension(enlarge(total), enlarge(stretch), enlarge(shown))


def _grid_displacement(
    source: Doubles, result: Doubles, similarity: Similarity, grid: Doubles, away: Floats
) -> Doubles:
    outline, moved = _dense_outline(result), _dense_outline(source) - _dense_outline(result)
    remainder = moved - similarity.displacement(outline)
    flat = grid.reshape(-1, 2)
    squared = (
        np.square(flat).sum(axis=1)[:, None]
        - 2 * flat @ outline.T
        + np.square(outline).sum(axis=1)[None]
    )
    squared = np.maximum(squared, 0).astype(np.float32)
    weights = 1 / np.square(squared + (0.05 * similarity.unit) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)
    spread = (weights @ remainder.astype(np.float32)).reshape(*grid.shape[:2], 2)
    largest = float(np.linalg.norm(remainder, axis=1).max()) / similarity.unit
    fade = 1 - smoothstep(0.0, max(_NEAR, _FOLD_MARGIN * largest), away)
    return similarity.displacement(grid) + spread * fade[..., None]


def _dense_outline(points: Doubles) -> Doubles:
    oval = points[list(FACE_OVAL), :2]
    return np.concatenate([oval, (oval + np.roll(oval, -1, axis=0)) / 2])


def _anchor(
    grid: Doubles, total: Doubles, away: Floats, similarity: Similarity, size: tuple[int, int]
) -> Doubles:
    """1 on the head, 0 far away and at the border; the shoulders begin right below the chin."""
    offset = grid - similarity.result_centre
    down = smoothstep(0.2, 0.9, offset[..., 1] / (np.linalg.norm(offset, axis=-1) + 1e-6))
    start = 0.8 * (1 - down)
    width = 1.3 - 0.3 * down
    near = 1 - smoothstep(0.0, 1.0, (away - start) / width)
    border = np.minimum(grid, np.array(size[::-1]) - grid).min(axis=-1)
    # The more there is to lose on the way to the border, the earlier it begins.
    border /= 0.09 * max(size) + 1.3 * np.hypot(total[..., 0], total[..., 1])
    return np.asarray(near * smoothstep(0.0, 1.0, border), np.float64)


def _stretch(total: Doubles, cell_height: float, cell_width: float) -> Floats:
    dy: Doubles = np.gradient(total, cell_height, axis=0)
    dx: Doubles = np.gradient(total, cell_width, axis=1)
    determinant = (1 + dx[..., 0]) * (1 + dy[..., 1]) - dx[..., 1] * dy[..., 0]
    return np.where(determinant > 0.05, 1 / np.maximum(determinant, 0.05), 0).astype(np.float32)
