# SPDX-License-Identifier: Apache-2.0
"""Glasses of a face turned away: the half that is shown well, and its mirror image for the other.

Glasses stand off the face, so the mesh that carries a face carries the far lens wrongly: shortened
behind the nose and torn. But glasses are symmetric.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from facex.geometry.texture_map import WarpField

Floats = NDArray[np.float32]

_BRIDGE: Final = 168
_FOREHEAD, _CHIN = 10, 152
_SOFT: Final = 0.008
"""Half the width over which the halves go over into each other, as a share of the side."""


def near_half(field: WarpField, points: NDArray[np.floating]) -> Floats:
    """The half of the result's face that a source shows better, ``(S, S)`` in [0, 1].

    Args:
        field: carries the source into the result.
        points: ``(478, 3)`` landmarks of the result in pixels.
    """
    height, width = field.size
    middle, up = points[_BRIDGE, :2], points[_FOREHEAD, :2] - points[_CHIN, :2]
    across = np.array([-up[1], up[0]]) / max(float(np.hypot(*up)), 1e-6)
    rows, columns = np.mgrid[:height, :width] + 0.5
    beside = (columns - middle[0]) * across[0] + (rows - middle[1]) * across[1]
    hidden = (field.inside > 0) * (1 - field.visible)
    if (hidden * (beside > 0)).sum() > hidden.sum() / 2:
        beside = -beside
    return np.clip(0.5 + beside / (2 * _SOFT * width), 0, 1).astype(np.float32)
