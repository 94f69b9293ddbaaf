# SPDX-License-Identifier: Apache-2.0
"""Enlarge a drawing along the photo it was made from: its edges become as sharp as the photo's."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.imaging.luma import LUMA

Floats = NDArray[np.float32]

_RADIUS: Final = 2
"""Half width, in pixels of the drawing, of the window in which it follows the photo."""
_CALM: Final = 2e-3
"""Variance of brightness below which a place counts as flat and gets nothing."""


def enlarge_along(drawing: Floats, small: Floats, photo: Floats) -> Floats:
    """Enlarge ``drawing`` and give it the photo's fine detail, as far as it follows the photo.

    The slope of the drawing against the photo's brightness in a small window says how much of the
    photo's finer detail belongs in it (the coefficients of the guided filter: He and Sun 2015,
    "Fast guided filter"). Where a drawing is flat and the photo is not, the slope is next to none:
    pores do not come back, outlines do.

    Args:
        drawing: (h, w, 3) in [0, 1].
        small: (h, w, 3) in [0, 1], the photo that was drawn.
        photo: (H, W, 3) in [0, 1], the same at full size.

    Returns:
        (H, W, 3) in [0, 1].
    """
    height, width = photo.shape[:2]
    if drawing.shape[:2] == (height, width):
        return drawing
    luma = np.array(LUMA, np.float32)
    guide, fine = small @ luma, photo @ luma
    mean = _mean(guide)
    spread = np.maximum(_mean(guide * guide) - mean * mean, 0)
    shared = _mean(drawing * guide[..., None]) - _mean(drawing) * mean[..., None]
    slope = _mean(np.asarray(shared / (spread + _CALM)[..., None], np.float32))
    size = (width, height)
    detail = fine - cv2.resize(guide, size, interpolation=cv2.INTER_CUBIC)
    slope = cv2.resize(slope, size, interpolation=cv2.INTER_LINEAR)
    drawn = cv2.resize(drawing, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(drawn + slope * detail[..., None], 0, 1).astype(np.float32)


def _mean(image: Floats) -> Floats:
    side = 2 * _RADIUS + 1
    return np.asarray(cv2.blur(image, (side, side), borderType=cv2.BORDER_REFLECT_101), np.float32)
