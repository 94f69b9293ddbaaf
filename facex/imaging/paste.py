# SPDX-License-Identifier: Apache-2.0
"""Put an edited crop back into its photo; what the mask leaves out keeps its bytes (DESIGN 6)."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.imaging.warp import Box, Sampler, Similarity, coverage, crop_box


def feather(mask: NDArray[Any], radius: float) -> NDArray[np.float32]:
    """Soften a mask inwards, so that it never grows beyond what may change.

    The picture's border counts as outside: a crop whose mask reaches it still gets no seam.

    Args:
        mask: (H, W) in 0..1, or bool.
        radius: width of the ramp in pixels; 0 changes nothing.

    Returns:
        (H, W) float32 in 0..1, 0 wherever the mask is 0.
    """
    soft = np.clip(np.asarray(mask, np.float32), 0, 1)
    if radius <= 0:
        return soft
    inside = np.pad((soft > 0).astype(np.uint8), 1)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    ramp = np.clip((distance - 0.5) / radius, 0, 1)
    smooth: NDArray[np.float32] = soft * (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
    return smooth


def paste_back(
    photo: NDArray[np.uint8],
    crop: NDArray[Any],
    crop_mask: NDArray[Any],
    photo_from_crop: Similarity,
    *,
    feather_radius: float = 0.0,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Blend a crop into its photo where its mask says so.

    Only the box under the mask is computed, a band at a time, so a photo of 50 megapixels needs
    no more than its copy and its mask.

    Args:
        photo: (H, W, 3) uint8; not changed.
        crop: (h, w, 3) uint8, or float in 0..1, at any resolution.
        crop_mask: (h, w) in 0..1: 0 keeps the photo, 1 takes the crop.
        photo_from_crop: maps pixels of this crop (at its resolution) to photo pixels.
        feather_radius: softens the mask inwards by so many crop pixels first.

    Returns:
        The new photo (H, W, 3) uint8, and the mask as it was applied, (H, W) float32. Where that
        mask is 0 the photo's bytes are returned.

    Raises:
        ValueError: shapes do not fit, or a float crop leaves 0..1.
    """
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise ValueError(f"the photo must be (H, W, 3) uint8, got {photo.shape} {photo.dtype}")
    if crop.ndim != 3 or crop.shape[2] != 3 or crop_mask.shape != crop.shape[:2]:
        raise ValueError(f"crop {crop.shape} and mask {crop_mask.shape} do not fit")
    mask = feather(crop_mask, feather_radius)
    result, photo_mask = photo.copy(), np.zeros(photo.shape[:2], np.float32)
    box = _mask_box(mask, photo_from_crop, (photo.shape[1], photo.shape[0]))
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        return result, photo_mask
    crop_from_box = photo_from_crop.inverse().compose(Similarity.from_parts(shift=(x0, y0)))
    layers = np.dstack([_levels(crop), mask])
    target, target_mask = result[y0:y1, x0:x1], photo_mask[y0:y1, x0:x1]
    for rows, values in Sampler.whole(layers, crop_from_box).bands(y1 - y0, x1 - x0):
        new = values.numpy().reshape(-1, x1 - x0, 4)
        crop_from_band = crop_from_box.compose(Similarity.from_parts(shift=(0, rows.start)))
        covered = coverage(crop.shape[:2], crop_from_band, len(new), x1 - x0)
        weight = np.clip(new[..., 3], 0, 1) * covered
        # below half a level of 8 bit nothing can change: call it 0, so that bytes are kept
        weight[weight < 1 / 512] = 0
        old = target[rows].astype(np.float32)
        blended = old + (np.clip(new[..., :3], 0, 255) - old) * weight[..., None]
        target[rows] = np.rint(blended).astype(np.uint8)
        target_mask[rows] = weight
    return result, photo_mask


def _mask_box(
    mask: NDArray[np.float32], photo_from_crop: Similarity, photo_size: tuple[int, int]
) -> Box:
    """The photo box that the mask's own box reaches; two crop or photo pixels of filter around."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    grow = 2 + int(np.ceil(2 / photo_from_crop.scale))
    used = (columns[0] - grow, rows[0] - grow, columns[-1] + 1 + grow, rows[-1] + 1 + grow)
    x0, y0, x1, y1 = (int(v) for v in used)
    return crop_box(photo_from_crop, (x0, y0, x1, y1), photo_size)


def _levels(crop: NDArray[Any]) -> NDArray[np.float32]:
    """The crop in 8 bit levels 0..255, float32."""
    if crop.dtype == np.uint8:
        return crop.astype(np.float32)
    if not (crop.min() >= -0.01 and crop.max() <= 1.01):  # also refuses NaN
        raise ValueError("a float crop must lie in 0..1")
    return np.clip(crop, 0, 1).astype(np.float32) * 255
