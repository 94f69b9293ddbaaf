# SPDX-License-Identifier: Apache-2.0
"""Masks and pictures of references: sizes, growing, pieces, means near a place."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_RIM: Final = 0.0027
"""Width of the last pixels of a mesh, as a share of the side."""


def resized(image: Floats, size: int) -> Floats:
    """A square picture or mask at another side; shrinking averages."""
    if image.shape[0] == size and image.shape[1] == size:
        return image
    kind = cv2.INTER_AREA if size < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size, size), interpolation=kind), np.float32)


def disc(radius: int) -> NDArray[np.uint8]:
    """A round kernel of a radius in pixels, at least 1."""
    radius = max(1, radius)
    shape = (2 * radius + 1, 2 * radius + 1)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, shape), np.uint8)


def grow(mask: Floats, radius: int) -> Floats:
    """A mask grown by pixels, its border soft and ending for good."""
    grown = cv2.dilate(mask, disc(radius))
    soft = cv2.GaussianBlur(grown, (0, 0), max(0.6, radius * 0.5))
    # Cells whose share is small are outside: fusion needs a clear border.
    return np.where(soft < 0.02, 0.0, soft).astype(np.float32)


def without_rim(mesh: NDArray[np.uint8]) -> Floats:
    """A mesh ``(S, S)`` without its last pixels, which are mixed with what is drawn out, soft."""
    size = len(mesh)
    rim = np.ones((2 * max(1, round(_RIM * size)) + 1,) * 2, np.uint8)
    inner = cv2.erode(mesh, rim).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(inner, (0, 0), max(0.6, _RIM * size / 2)), np.float32)


def pixel_places(size: int) -> NDArray[np.float64]:
    """Column and row of the centre of every pixel, ``(size, size, 2)``."""
    return np.stack(np.meshgrid(*[np.arange(size) + 0.5] * 2), axis=-1)


def reaching(part: NDArray[np.uint8], place: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected pieces of a part ``(S, S)`` that reach a place."""
    _, pieces = cv2.connectedComponents(part, connectivity=8)
    there = np.unique(pieces[place])
    return np.isin(pieces, there[there > 0])


def depth(solid: Floats) -> Floats:
    """How many pixels each pixel of a part ``(S, S)`` is from its outline; 0 outside."""
    found = cv2.distanceTransform((solid > 0).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(found, np.float32)


def local_mean(image: Floats, part: Floats, reach: float) -> Floats:
    """Mean of ``(S, S, C)`` over the pixels of a part within reach; of all, if none is."""
    side = 2 * round(reach * 1.5) + 1
    weight = cv2.blur(part, (side, side)) + np.float32(1e-4)
    total = (image * part[..., None]).sum((0, 1)) / max(float(part.sum()), 1.0)
    near = cv2.blur(image * part[..., None], (side, side)) + total * np.float32(1e-4)
    return np.asarray(near / weight[..., None], np.float32)


def weighted_mean(values: Floats, weight: Floats, sigma: float) -> tuple[Floats, Floats]:
    """Gaussian mean of ``(S, S, C)`` by weight ``(S, S)``, and the weight that is near."""
    total = np.asarray(cv2.GaussianBlur(weight, (0, 0), sigma), np.float32)
    mean = cv2.GaussianBlur(values * weight[..., None], (0, 0), sigma)
    return np.asarray(mean / np.maximum(total, 1e-4)[..., None], np.float32), total
