# SPDX-License-Identifier: Apache-2.0
"""Where the face of another picture ends: with its mesh, or with the head that stays (DESIGN 4)."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.morphology import disc, without_rim
from facex.fors.trim import higher_than
from facex.geometry.texture_map import WarpField
from facex.geometry.topology import GLABELLA

Floats = NDArray[np.float32]

_BESIDE_HIDDEN: Final = 0.025
"""How far beside what is turned away nothing of a foreign face is shown, as a share of the side."""


def face_end(field: WarpField, place: NDArray[np.float64], head: Floats | None) -> Floats:
    """Where another's skin and glasses may be shown.

    Beyond the mesh only on a head that stays. A head that comes with its hair has skin above its
    brows there; what is skin beside its cheeks is neck or ears, drawn out.

    Args:
        field: the warp of the other's picture.
        place: ``(478, 3)``, the result's mesh in pixels.
        head: ``(S, S)``, the head that stays; None where the other's comes with its hair.

    Returns:
        ``(S, S)`` in [0, 1].
    """
    size, inside = len(field.inside), field.inside
    if head is None:
        return np.maximum(without_rim(inside), higher_than(place, GLABELLA, size))
    mesh = cv2.dilate(inside, np.ones((3, 3), np.uint8)).astype(np.float32)
    # Beside what is turned away the warp shows whatever the source has behind its outline.
    hidden = inside * (field.visible < 0.5).astype(np.uint8)
    beside = cv2.dilate(hidden, disc(round(_BESIDE_HIDDEN * size))) * (1 - inside)
    return np.asarray(np.clip(np.maximum(head, mesh), 0, 1) * (1 - beside), np.float32)
