# SPDX-License-Identifier: Apache-2.0
"""Lids of eyes that an edit shuts.

An open eye hides most of its lid: a warp that shuts it stretches a few pixels of crease and lashes
over all of it. Where it would, the skin around the eye goes on over it, with the crease, the
shade and the lashes of the mean lid.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.fill import push_pull
from facex.geometry.band import filled, paint_band
from facex.geometry.lids import lid_grids, lid_height, lid_outline, mean_lids
from facex.geometry.topology import EYES, region_polygon_mask
from facex.geometry.visibility import eye_openness

Floats = NDArray[np.float32]
Points = NDArray[np.float64]

_STRETCHED: Final = (1.1, 1.4)
"""Height of the result's lid over the photo's from where on it is stretched, and is too much."""
_SLIT: Final = (0.07, 0.13)
"""Height over width of an eye that is shut, and that still shows something."""
_TRUST: Final = 0.9
_SOFT: Final = 0.05
"""Softness of the outline, in widths of the eye."""
_BROW: Final = 0.12
"""How far from a brow its hairs go, in widths of the eye."""


def lid_ground(image: Floats, points: NDArray[np.floating], eye: int) -> Floats:
    """A picture whose eye 0 (right) or 1 is covered by the skin around it.

    Args:
        image: ``(S, S, 3)``.
        points: ``(478, 2 or 3)`` in pixels of ``image``.
        eye: which.
    """
    size, ring = image.shape[0], lid_outline(points, eye)
    span = float(np.ptp(ring[:, 0]))
    hidden = filled(ring, size)
    side = 2 * max(1, round(_BROW * span)) + 1
    brows = region_polygon_mask(points, "brows", size)
    hidden = np.maximum(
        hidden, cv2.dilate(brows, np.ones((side, side), np.uint8)).astype(np.float32)
    )
    low = np.maximum(np.floor(ring.min(0) - span * 0.5).astype(int), 0)
    high = np.minimum(np.ceil(ring.max(0) + span * 0.5).astype(int), size)
    box = slice(low[1], high[1]), slice(low[0], high[0])
    if (high - low).min() < 2 or hidden[box].min() > 0:
        return image
    covered = image.copy()
    known = np.ascontiguousarray(1 - hidden[box], np.float32)
    covered[box] = push_pull(np.ascontiguousarray(image[box]), known)
    return covered


def shut_lids(
    image: Floats,
    known: Floats,
    source_points: Points,
    result_points: Points,
    glasses: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Paint the lids that an edit shuts, or half shuts.

    Args:
        image: ``(S, S, 3)`` in [0, 1], the reference so far.
        known: ``(S, S)`` in [0, 1].
        source_points: ``(478, 3)`` of the photo that shows the eyes, in crops of the same size.
        result_points: ``(478, 3)`` in pixels of ``image``.
        glasses: ``(S, S)`` in [0, 1], what stays before the eyes.

    Returns:
        The reference and how far it is known; both as they were where no lid is stretched.
    """
    size = image.shape[0]
    for eye, edge in enumerate(EYES):
        stretch = lid_height(result_points, eye) / max(lid_height(source_points, eye), 1e-6)
        low, high = _STRETCHED
        share = float(np.clip((stretch - low) / (high - low), 0, 1))
        if share <= 0:
            continue
        ring = lid_outline(result_points, eye)
        soft = max(0.7, _SOFT * float(np.ptp(ring[:, 0])))
        ground = lid_ground(image, result_points, eye)
        upper, lower = lid_grids(result_points, eye)
        above, below = (
            paint_band(texture, grid, size)
            for texture, grid in zip(mean_lids(), (upper, lower), strict=True)
        )
        # Beyond its own border a band goes on: shut, the two meet.
        shade = np.where((filled(_loop(upper), size)[..., None] > 0.5) | (below <= 0), above, below)
        shade = np.where(shade > 0, shade, np.float32(1))
        lids = result_points[list(edge), :2]
        low, high = _SLIT
        slit = float(np.clip((eye_openness(lids) - low) / (high - low), 0, 1))
        opening = filled(lids, size) * np.float32(slit)
        weight = cv2.GaussianBlur(filled(ring, size), (0, 0), soft) * (1 - opening)
        if glasses is not None:
            weight = weight * (1 - np.clip(glasses, 0, 1))
        weight = np.asarray(weight * share, np.float32)
        image = image + (np.clip(ground * shade, 0, 1) - image) * weight[..., None]
        known = np.maximum(known, _TRUST * weight)
    return np.asarray(image, np.float32), np.asarray(known, np.float32)


def _loop(grid: Floats) -> Floats:
    """The border of a grid of places."""
    rows = (grid[0], grid[1:-1, -1], grid[-1, ::-1], grid[-2:0:-1, 0])
    return np.concatenate(rows)
