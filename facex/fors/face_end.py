# SPDX-License-Identifier: Apache-2.0
"""Where the face of another picture ends: with its mesh, or with the head that stays (DESIGN 4)."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from facex.fors.morphology import disc, without_rim
from facex.fors.trim import higher_than
from facex.geometry.texture_map import WarpField
from facex.geometry.topology import GLABELLA
from facex.types import FACE_REGIONS, Region

Floats = NDArray[np.float32]

_BEARDLESS: Final = (Region.SKIN, Region.GLASSES, Region.BEARD)
_NEAR: Final = 0.02
"""How far along an outline from what is turned away it counts so, too, as a share of the side."""


def face_ends(
    field: WarpField, place: NDArray[np.float64], head: Floats | None, *, bearded: bool
) -> dict[Region, Floats]:
    """Where regions of another's face may be shown.

    Beyond the mesh only on a head that stays. A head that comes with its hair has skin above its
    brows there; what is skin beside its cheeks is neck or ears, drawn out.

    Args:
        field: the warp of the other's picture.
        place: ``(478, 3)``, the result's mesh in pixels.
        head: ``(S, S)``, the head that stays; None where the other's comes with its hair.
        bearded: the other has a beard, which reaches beyond the mesh.

    Returns:
        By region ``(S, S)`` in [0, 1]; what is not named ends nowhere.
    """
    size, inside = len(field.inside), field.inside
    if head is None:
        end = np.maximum(without_rim(inside), higher_than(place, GLABELLA, size))
        return {region: end for region in _BEARDLESS[: 2 if bearded else 3]}
    mesh = cv2.dilate(inside, np.ones((3, 3), np.uint8)).astype(np.float32)
    clear = 1 - _beside_hidden(field)
    end = np.asarray(np.clip(np.maximum(head, mesh), 0, 1) * clear, np.float32)
    return {Region.GLASSES: end} | {region: end for region in FACE_REGIONS} | {Region.BEARD: clear}


def _beside_hidden(field: WarpField) -> Floats:
    """Beyond the part of a mesh's outline that its photo shows turned away, ``(S, S)``, 0 or 1.

    There a warp shows whatever the source has behind its outline, and folds.
    """
    inside = field.inside > 0
    hidden = (inside & (field.visible < 0.5)).astype(np.uint8)
    if not hidden.any():
        return np.zeros(inside.shape, np.float32)
    near = cv2.dilate(hidden, disc(round(_NEAR * len(inside)))) > 0
    rows, columns = ndimage.distance_transform_edt(
        ~inside, return_distances=False, return_indices=True
    )
    return np.asarray(near[rows, columns] & ~inside, np.float32)
