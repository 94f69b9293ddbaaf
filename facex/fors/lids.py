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
from facex.geometry.band import box_about, filled, paint_band
from facex.geometry.extend import ramp
from facex.geometry.lids import lid_grids, lid_height, lid_outline, mean_lids
from facex.geometry.topology import EYES, Sides, region_polygon_mask
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
_LASHES: Final = 0.1
"""How far lashes reach beyond the lids, in widths of the eye."""
_BROW: Final = 0.12
"""How far from a brow its hairs go, in widths of the eye."""

_LEAST_KNOWN: Final = 0.4
"""How far skin around an eye must be known to go on over it."""
_AROUND: Final = 0.5
"""How far around the lids skin is looked for, in their widths."""


def lid_ground(
    image: Floats, points: NDArray[np.floating], eye: int, known: Floats | None = None
) -> Floats:
    """A picture whose eye 0 (right) or 1 is covered by the skin around it.

    Args:
        image: ``(S, S, 3)``.
        points: ``(478, 2 or 3)`` in pixels of ``image``.
        eye: which.
        known: ``(S, S)`` in [0, 1], where the picture shows anything; everywhere by default.
    """
    height, width = image.shape[:2]
    ring = lid_outline(points, eye)
    box = box_about(ring, image.shape, _AROUND)
    if box is None:
        return image
    side = 2 * max(1, round(_BROW * float(np.ptp(ring[:, 0])))) + 1
    brows = region_polygon_mask(points, "brows", (height, width))
    brows = cv2.dilate(brows, np.ones((side, side), np.uint8))
    hidden = np.maximum(filled(ring, height, width), np.asarray(brows, np.float32))
    part = slice(box[1], box[3]), slice(box[0], box[2])
    seen = 1 - hidden if known is None else known * (1 - hidden)
    if seen[part].max() < _LEAST_KNOWN:
        return image
    covered = image.copy()
    around = push_pull(np.ascontiguousarray(image[part]), np.ascontiguousarray(seen[part]))
    covered[part] = around
    return covered


def lid_area(points: NDArray[np.floating], size: int, sides: Sides = (True, True)) -> Floats:
    """Eyes with their lids up to the creases, and lashes: ``(size, size)`` in [0, 1], soft.

    Args:
        points: ``(478, 2 or 3)`` in pixels.
        size: side of the picture.
        sides: whether the (right, left) one counts.
    """
    area = np.zeros((size, size), np.float32)
    for eye in (n for n, wanted in enumerate(sides) if wanted):
        ring = lid_outline(points, eye)
        radius = max(1, round(_LASHES * float(np.ptp(ring[:, 0]))))
        own = cv2.dilate(filled(ring, size, size), np.ones((2 * radius + 1,) * 2, np.uint8))
        area = np.maximum(area, cv2.GaussianBlur(own, (0, 0), radius / 2))
    return np.asarray(area, np.float32)


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
    before = image
    for eye in range(len(EYES)):
        stretch = lid_height(result_points, eye) / max(lid_height(source_points, eye), 1e-6)
        amount = ramp(stretch, *_STRETCHED)
        # Far enough around for the brows that lids have no colour of.
        ring = lid_outline(result_points, eye)
        box = box_about(ring, image.shape, _AROUND + _BROW)
        if amount <= 0 or box is None:
            continue
        if image is before:
            image, known = image.copy(), known.copy()
        part = slice(box[1], box[3]), slice(box[0], box[2])
        there = result_points[:, :2] - box[:2]
        painted, weight = _lids(image[part], known[part], there, eye)
        if glasses is not None:
            weight = weight * (1 - np.clip(glasses[part], 0, 1))
        weight = np.asarray(weight * np.float32(amount), np.float32)
        # Over what is hardly known, a lid's soft rim is lid, too.
        share = weight / np.maximum(weight + known[part] * (1 - weight), np.float32(1e-3))
        image[part] += (painted - image[part]) * share[..., None]
        known[part] = np.maximum(known[part], _TRUST * weight)
    return image, known


def _lids(image: Floats, known: Floats, points: Points, eye: int) -> tuple[Floats, Floats]:
    """A picture ``(h, w, 3)`` with the lids of an eye drawn, and where they are ``(h, w)``.

    Nowhere, if no skin is known around the eye that could go on over it.
    """
    size, ring = image.shape[:2], lid_outline(points, eye)
    grids = lid_grids(points, eye)
    above, below = (paint_band(*band, *size) for band in zip(mean_lids(), grids, strict=True))
    # Beyond its own border a band goes on: shut, the two meet.
    shade = np.where((filled(_loop(grids[0]), *size)[..., None] > 0.5) | (below <= 0), above, below)
    shade = np.where(shade > 0, shade, np.float32(1))
    edge = points[list(EYES[eye])]
    opening = filled(edge, *size) * np.float32(ramp(eye_openness(edge), *_SLIT))
    soft = max(0.7, _SOFT * float(np.ptp(ring[:, 0])))
    weight = cv2.GaussianBlur(filled(ring, *size), (0, 0), soft) * (1 - opening)
    ground = lid_ground(image, points, eye, known)
    if ground is image:
        weight = np.zeros_like(weight)
    return np.clip(ground * shade, 0, 1), np.asarray(weight, np.float32)


def _loop(grid: Floats) -> Floats:
    """The border of a grid of places."""
    rows = (grid[0], grid[1:-1, -1], grid[-1, ::-1], grid[-2:0:-1, 0])
    return np.concatenate(rows)
