# SPDX-License-Identifier: Apache-2.0
"""The outline of a head without what was behind it (DESIGN 4).

Along hair and ears every pixel is a mixture of the head and of its own photo's ground: carried into
another photo, a bright wall becomes a halo. What is mixed takes the colour of the head beside it;
how far it is shown, the soft masks say.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.fill import push_pull
from facex.fors.morphology import disc, resized

Floats = NDArray[np.float32]

_MIXED: Final = 0.014
"""Width of the rim that is mixed with the ground, as a share of the side."""
_BEYOND: Final = 0.012
"""How far beyond the outline a soft mask may show something, as a share of the side."""
_OTHER: Final = (8.0, 20.0)
"""Differences from the colour of the head beside it, CIELAB, that are its own, and the ground's."""


def without_ground(pixels: Floats, head: Floats) -> Floats:
    """A picture whose head is not mixed with the ground along its outline.

    Args:
        pixels: ``(H, W, 3)`` RGB in [0, 1], square.
        head: ``(S, S)`` in [0, 1], where it shows the head, of any size.

    Returns:
        ``(H, W, 3)``; equal to ``pixels`` inside of the head, and away from it.
    """
    size = len(pixels)
    solid = (resized(head, size) > 0.5).astype(np.uint8)
    # What the crop cuts off is no outline.
    inner = cv2.erode(solid, disc(round(_MIXED * size)), borderType=cv2.BORDER_REPLICATE)
    rim = (cv2.dilate(solid, disc(round(_BEYOND * size))) > 0) & (inner == 0)
    if not inner.any() or not rim.any():
        return pixels
    own = push_pull(pixels, inner.astype(np.float32))
    lab, near = (cv2.cvtColor(np.ascontiguousarray(x), cv2.COLOR_RGB2LAB) for x in (pixels, own))
    away = np.linalg.norm(lab - near, axis=-1)
    mixed = np.clip((away - _OTHER[0]) / (_OTHER[1] - _OTHER[0]), 0, 1) * rim
    mixed = cv2.GaussianBlur(mixed.astype(np.float32), (0, 0), size / 400)
    mixed = np.where(inner > 0, np.float32(0), mixed)
    return np.asarray(pixels + (own - pixels) * mixed[..., None], np.float32)
