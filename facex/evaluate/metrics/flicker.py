# SPDX-License-Identifier: Apache-2.0
"""Flicker of an edited clip: how much neighbouring frames differ beyond the clip's own movement.

The warping error of Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018, with
OpenCV's DIS flow in place of a network, read from the unedited frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
_CONSISTENT: Final = 1.0
"""Pixels by which the flow there and back may miss; elsewhere something was covered."""


def warp_error(
    originals: Iterable[Pixels], edited: Iterable[Pixels], masks: Iterable[NDArray[np.floating]]
) -> float:
    """Mean absolute difference of each edited frame and the one before it, carried along.

    Args:
        originals: ``(H, W, 3)`` uint8 frames before the edit, which tell the movement.
        edited: the same frames after it.
        masks: ``(H, W)`` in [0, 1], where the edit is.

    Returns:
        0 to 255; 0 if there are fewer than two frames.
    """
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    total, weight = 0.0, 0.0
    before: tuple[Pixels, Pixels] | None = None
    for original, result, mask in zip(originals, edited, masks, strict=True):
        grey = cv2.cvtColor(original, cv2.COLOR_RGB2GRAY)
        if before is not None:
            back = flow.calc(grey, before[0], None)
            there = flow.calc(before[0], grey, None)
            carried = _sampled(before[1], back).astype(np.float64)
            miss = np.linalg.norm(back + _sampled(there, back), axis=-1)
            counts = np.asarray(mask, np.float64) * (miss < _CONSISTENT)
            total += float((np.abs(carried - result).mean(-1) * counts).sum())
            weight += float(counts.sum())
        before = grey, result
    return total / weight if weight else 0.0


def _sampled(image: NDArray[np.generic], flow: NDArray[np.floating]) -> NDArray[np.generic]:
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    place = np.stack([x, y], -1) + flow.astype(np.float32)
    return np.asarray(
        cv2.remap(image, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    )
