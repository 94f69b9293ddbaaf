# SPDX-License-Identifier: Apache-2.0
"""Smooth filling of unknown pixels (push-pull pyramid), so that masks leave no hard edges."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def push_pull(image: Floats, known: Floats) -> Floats:
    """Extend known pixels smoothly over unknown ones.

    Averages travel down a pyramid over the known pixels and come back up where nothing is known:
    a membrane-like interpolation in linear time.

    Args:
        image: ``(H, W, 3)`` of any range; values where ``known`` is 0 do not matter.
        known: ``(H, W)`` in [0, 1].

    Returns:
        ``(H, W, 3)``; equal to ``image`` where ``known`` is 1.
    """
    if known.min() >= 1 or known.max() <= 0:
        return image.copy()
    return _level(image * known[..., None], known)


def _level(weighted: Floats, weight: Floats) -> Floats:
    height, width = weight.shape
    if min(height, width) <= 2:
        total = max(float(weight.sum()), 1e-6)
        mean = weighted.sum((0, 1)) / total
        return np.broadcast_to(mean, weighted.shape).astype(np.float32)
    half = (max(1, width // 2), max(1, height // 2))
    small = cv2.resize(weighted, half, interpolation=cv2.INTER_AREA)
    small_weight = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    # A little certainty from below is enough: saturate, so that holes close within few levels.
    boost = np.minimum(1.0, 4.0 * small_weight) / np.maximum(small_weight, 1e-6)
    coarse = _level(small * boost[..., None], small_weight * boost)
    up = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return weighted + up * (1 - weight[..., None])
