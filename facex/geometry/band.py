# SPDX-License-Identifier: Apache-2.0
"""Outlines of a face filled, and bands between two curves with coordinates of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def band_grid(
    upper: NDArray[np.floating], lower: NDArray[np.floating], shape: tuple[int, int]
) -> Floats:
    """Places between two curves that share their ends, from curve to curve and from end to end.

    Args:
        upper: ``(n, 2)``, from the first end to the second.
        lower: ``(m, 2)``, likewise.
        shape: rows and columns.

    Returns:
        ``(rows, columns, 2)`` in the curves' unit; columns are straight and evenly spaced.
    """
    rows, columns = shape
    first, second = np.asarray(upper[0], np.float64), np.asarray(upper[-1], np.float64)
    width = max(float(np.linalg.norm(second - first)), 1e-6)
    axis = (second - first) / width
    across = (np.arange(columns) + 0.5) / columns

    def curve(line: NDArray[np.floating]) -> NDArray[np.float64]:
        place = (line - first) @ axis / width
        order = np.argsort(place)
        return np.stack([np.interp(across, place[order], line[order, k]) for k in (0, 1)], -1)

    top, bottom = curve(upper), curve(lower)
    down = ((np.arange(rows) + 0.5) / rows)[:, None, None]
    return np.asarray(top + (bottom - top) * down, np.float32)


def paint_band(texture: Floats, grid: Floats, height: int, width: int | None = None) -> Floats:
    """A texture in its place ``(H, W, C)``, 0 elsewhere, its border carried on a little.

    Args:
        texture: ``(rows, columns, C)``.
        grid: ``(rows, columns, 2)`` of :func:`band_grid`, in pixels.
        height: of the picture in pixels.
        width: of it, by default the same.
    """
    width = height if width is None else width
    low, high = grid.reshape(-1, 2).min(0), grid.reshape(-1, 2).max(0)
    left, top = np.maximum(np.floor(low).astype(int) - 2, 0)
    right, bottom = np.minimum(np.ceil(high).astype(int) + 3, (width, height))
    image = np.zeros((height, width, texture.shape[-1]), np.float32)
    if right - left < 2 or bottom - top < 2:
        return image
    columns, rows = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
    place = _inverse(grid, np.stack([columns, rows], -1).astype(np.float32))
    image[top:bottom, left:right] = cv2.remap(
        texture, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return image


def filled(loop: NDArray[np.floating], height: int, width: int | None = None) -> Floats:
    """Inside of a loop ``(n, 2)`` in pixels, ``(H, W)``: 1, along the loop as far as it covers."""
    mask = np.zeros((height, height if width is None else width), np.uint8)
    cv2.fillPoly(mask, [np.round(np.asarray(loop) * 16 - 8).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return np.asarray(mask, np.float32) / np.float32(255)


def box_about(
    ring: NDArray[np.floating], shape: Sequence[int], margin: float
) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of a box about a loop ``(n, 2)``, inside of a picture.

    Args:
        ring: in pixels.
        shape: of the picture, height and width first.
        margin: in widths of the loop.

    Returns:
        The box, None where hardly anything of it is in the picture.
    """
    low, high = ring.min(0), ring.max(0)
    spare = margin * float((high - low)[0])
    x0, y0 = (max(0, int(value - spare)) for value in low)
    sides = zip(high, shape[1::-1], strict=True)
    x1, y1 = (min(most, math.ceil(value + spare)) for value, most in sides)
    return (x0, y0, x1, y1) if x1 - x0 > 4 and y1 - y0 > 2 else None


def _inverse(grid: Floats, places: Floats) -> Floats:
    """Texture coordinates ``(h, w, 2)`` of picture places, columns of the grid being straight."""
    rows, across = grid.shape[:2]
    right, left = grid[:, 0].mean(0), grid[:, -1].mean(0)
    axis = (left - right) / max(float(np.linalg.norm(left - right)), 1e-6)
    origin = right - axis * np.linalg.norm(left - right) / (2 * (across - 1))
    width = np.linalg.norm(left - right) * across / (across - 1)
    u = np.clip((places - origin) @ axis / max(float(width), 1e-6) * across - 0.5, 0, across - 1)
    normal = np.array([-axis[1], axis[0]], np.float32)
    columns = np.arange(across)
    upper = np.interp(u, columns, (grid[0] - origin) @ normal)
    lower = np.interp(u, columns, (grid[-1] - origin) @ normal)
    height = np.where(np.abs(lower - upper) < 1e-3, 1e-3, lower - upper)
    v = ((places - origin) @ normal - upper) / height * (rows - 1)
    return np.stack([u, np.clip(v, 0, rows - 1)], -1).astype(np.float32)
