# SPDX-License-Identifier: Apache-2.0
"""The neck behind a head that turned away from before it, which no photo shows.

A neck does not turn with its head: it stays as broad as it was and goes on to below the ears.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.fill import push_pull
from facex.geometry.topology import CHIN

Floats = NDArray[np.float32]

_LOBES: Final = (93, 323)
"""Points of the mesh beside the lobes of the ears; the picture's left one first."""
_JAWS: Final = ((172, 136), (397, 365))
"""Points of the jaw below which necks have their sides."""
_BELOW: Final = 0.03
"""How far below the chin the sides are looked for, as a share of the side; shoulders are lower."""
_NEAR: Final = 0.06
"""How far from below the jaw a side may be found, as a share of the side."""
_BEHIND: Final = 0.06
"""How far behind an ear a neck may go on, as a share of the side."""
_SOFT: Final = 0.012
"""Deviation of the blur of the outline, as a share of the side."""
_LEAST: Final = 0.002
"""Share of the picture that must show neck before its colours are gone by."""
_SHADE: Final = 0.75
"""Brightness of a neck, as a share of the face's, where none is seen."""


def neck_column(points: NDArray[np.floating], neck: Floats, result: NDArray[np.floating]) -> Floats:
    """Where a neck is, or would be, if nothing were before it.

    Args:
        points: ``(478, 3)`` mesh of the photo, in pixels.
        neck: ``(S, S)`` in [0, 1], where the photo shows the neck.
        result: ``(478, 3)`` mesh of the head that is going to be on it.

    Returns:
        ``(S, S)`` in [0, 1].
    """
    size = neck.shape[0]
    sides = [float(points[list(jaw), 0].mean()) for jaw in _JAWS]
    middle = points[CHIN, 0]
    top = int(np.clip(points[[jaw for jaw, _ in _JAWS], 1].mean(), 0, size - 1))
    bottom = int(np.clip(points[CHIN, 1] + _BELOW * size, top + 1, size))
    columns = np.flatnonzero((neck[top:bottom] > 0.5).any(0))
    for side, here in enumerate((columns[columns < middle], columns[columns > middle])):
        if len(here):
            found = float(here.min() if side == 0 else here.max() + 1)
            sides[side] = float(
                np.clip(found, sides[side] - _NEAR * size, sides[side] + _NEAR * size)
            )
    # A neck is hardly broader than its head.
    beyond = np.array([-_BEHIND, _BEHIND]) * size + result[list(_LOBES), 0]
    sides = [max(sides[0], beyond[0]), min(sides[1], beyond[1])]
    (left, upper), (right, other) = points[list(_LOBES), :2]
    x, y = np.arange(size) + 0.5, np.arange(size)[:, None] + 0.5
    level = upper + (other - upper) * np.clip((x - left) / max(right - left, 1.0), 0, 1)
    column = ((x > sides[0]) & (x < sides[1]) & (y > level)).astype(np.float32)
    if not len(columns):
        # A collar that hides the neck may reach up to the chin.
        low = points[CHIN, 1]
        column = column * np.clip(2 * (low - y) / np.maximum(low - level, 1.0), 0, 1)
    return cv2.GaussianBlur(np.asarray(column, np.float32), (0, 0), _SOFT * size)


def fill_neck(image: Floats, neck: Floats, skin: Floats) -> Floats:
    """The neck as it is known, continued over the whole picture.

    Args:
        image: ``(S, S, 3)`` in [0, 1].
        neck: ``(S, S)`` in [0, 1], where it shows neck that is known.
        skin: likewise, skin of the face.

    Returns:
        ``(S, S, 3)`` in [0, 1].
    """
    if neck.mean() >= _LEAST or skin.max() <= 0.5:
        return push_pull(image, neck)
    tone = np.median(image[skin > 0.5], axis=0) * np.float32(_SHADE)
    return np.asarray(np.broadcast_to(tone, image.shape), np.float32)
