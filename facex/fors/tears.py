# SPDX-License-Identifier: Apache-2.0
"""The line along which a turned head covers what is behind it."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.fill import push_pull
from facex.geometry.band import filled
from facex.geometry.texture_map import WarpField
from facex.geometry.topology import EYES

Floats = NDArray[np.float32]

TORN: Final = 3.0
"""Source pixels (of a 256 px crop) between neighbours above which a warp is torn there."""
_HIDING: Final = 0.6
"""Share of an eye's opening before which a dark lens is."""
_HALF_KNOWN: Final = 0.8
"""Known less than this, a speck is a hole: what the other half of a face lends counts as .57, and
where the mesh folds over itself single pixels of it are of anything."""


def mend_tears(image: Floats, cover: Floats, field: WarpField) -> tuple[Floats, Floats]:
    """Soften the line along which a turned head covers what is behind it.

    There neighbours come from far apart, triangle by triangle, which shows as dark teeth. The line
    is blurred and only half trusted, so that the generator draws it.

    Args:
        image: ``(H, W, 3)``.
        cover: ``(H, W)`` in [0, 1].
        field: the warp that tears.

    Returns:
        Both, changed near the tears.
    """
    unit = field.size[1] / 256
    jump = np.zeros(field.size, np.float32)
    for axis in (0, 1):
        step = np.abs(np.diff(field.map_xy, axis=axis)).max(-1)
        low, high = (slice(None, -1), slice(1, None))
        first, second = ((low, slice(None)), (high, slice(None)))
        if axis:
            first, second = first[::-1], second[::-1]
        jump[first] = np.maximum(jump[first], step)
        jump[second] = np.maximum(jump[second], step)
    torn = ((jump > TORN * unit) & (field.inside > 0)).astype(np.float32)
    if not torn.any():
        return image, cover
    reach = 2 * max(1, round(1.0 * unit)) + 1
    near = cv2.dilate(torn, np.ones((reach, reach), np.uint8))
    near = cv2.GaussianBlur(near, (0, 0), 0.7 * unit)[..., None]
    # What is not covered has no colour.
    weight = cv2.GaussianBlur(cover, (0, 0), 1.3 * unit)[..., None]
    soft = cv2.GaussianBlur(image * cover[..., None], (0, 0), 1.3 * unit)
    soft = np.where(weight > 0.02, soft / np.maximum(weight, 0.02), image)
    mended = image + (soft - image) * np.minimum(near * 1.3, 1)
    return np.asarray(mended, np.float32), np.asarray(cover * (1 - 0.6 * near[..., 0]), np.float32)


def fill_pinholes(image: Floats, known: Floats) -> tuple[Floats, Floats]:
    """Close holes of a few pixels, as folds of the mesh leave them, from what is around them.

    Args:
        image: ``(H, W, 3)``.
        known: ``(H, W)`` in [0, 1].

    Returns:
        Both; a closed hole counts as half known at least.
    """
    unit = image.shape[1] / 256
    hole = (known < _HALF_KNOWN).astype(np.uint8)
    side = 2 * max(1, round(1.5 * unit)) + 1
    large = cv2.morphologyEx(hole, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    # Rims of large holes belong to them.
    large = cv2.dilate(large, np.ones((2 * side + 1, 2 * side + 1), np.uint8))
    small = (hole > 0) & (large == 0)
    if not small.any():
        return image, known
    weight = cv2.GaussianBlur(known, (0, 0), 1.5 * unit)[..., None]
    around = cv2.GaussianBlur(image * known[..., None], (0, 0), 1.5 * unit)
    small &= weight[..., 0] > 0.02
    closed = np.where(small[..., None], around / np.maximum(weight, 0.02), image)
    trust = np.where(small, np.maximum(known, np.float32(0.5)), known)
    return np.asarray(closed, np.float32), np.asarray(trust, np.float32)


def fill_dark_glasses(
    image: Floats, cover: Floats, glasses: Floats, points: NDArray[np.floating]
) -> tuple[Floats, Floats]:
    """Close the tears of the eyelids behind lenses that nobody sees through.

    Lids that open or shut tear the warp, and what is torn there is lens, not skin to be lent.

    Args:
        image: ``(H, W, 3)``.
        cover: ``(H, W)`` in [0, 1].
        glasses: ``(H, W)`` in [0, 1], where they are. Thin frames have nothing to close, and
            lenses that show an eye are clear.
        points: ``(478, 3)`` landmarks of the result in pixels.
    """
    unit = image.shape[1] / 256
    lens = (glasses > 0.5).astype(np.uint8)
    # Gaps of the mesh are closed first; what is still thicker than a frame is a lens.
    for kind, reach in ((cv2.MORPH_CLOSE, 4), (cv2.MORPH_OPEN, 5)):
        side = 2 * max(1, round(reach * unit)) + 1
        lens = cv2.morphologyEx(lens, kind, np.ones((side, side), np.uint8))
    lens = _before_eyes(lens, points)
    if not lens.any():
        return image, cover
    area = np.asarray(lens, np.float32)
    seen = area * (cover > 0.95) * (glasses > 0.95)
    if seen.sum() == 0:
        return image, cover
    # Soft towards its rim, where a hard one would show as stairs.
    soft = np.asarray(cv2.GaussianBlur(area, (0, 0), unit), np.float32)
    soft = np.clip(2 * soft - 1, 0, 1)
    whole = push_pull(image, np.ascontiguousarray(seen, np.float32))
    mended = image + (whole - image) * (soft * (1 - seen))[..., None]
    return np.asarray(mended, np.float32), np.maximum(cover, soft)


def _before_eyes(lens: NDArray[np.uint8], points: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The pieces of a mask that hide an eye."""
    _, pieces = cv2.connectedComponents(lens, connectivity=8)
    kept = set()
    for eye in EYES:
        inside = filled(np.asarray(points)[list(eye), :2], *lens.shape) > 0.5
        found = np.bincount(pieces[inside]) if inside.any() else np.zeros(1)
        found[0] *= _HIDING / (1 - _HIDING)
        kept.add(int(found.argmax()))
    return np.asarray(np.isin(pieces, list(kept - {0})), np.uint8)
