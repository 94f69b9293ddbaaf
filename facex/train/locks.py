# SPDX-License-Identifier: Apache-2.0
"""Locks of hair over the face that a label calls skin, found by their colour.

Labels that follow the mesh of a face call skin whatever lies inside of it, and a parser that learns
from them does the same: a swap then carries a lock along as a stain. What is clearly nearer to the
hair beside it than to the face, and grows out of that hair, is hair; what may be is unsure.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.beard import beardedness
from facex.fors.morphology import disc, reaching
from facex.geometry.topology import region_polygon_mask
from facex.train.relabel import UNSURE
from facex.types import PARSING_CLASSES

Labels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_SKIN, _HAIR = (PARSING_CLASSES.index(name) for name in ("skin", "hair"))
_FACE: Final = [
    PARSING_CLASSES.index(name)
    for name in ("skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow")
] + [PARSING_CLASSES.index(name) for name in ("mouth", "u_lip", "l_lip")]
_LEAST: Final = 0.005
"""Share of the picture below which there is too little hair or skin to compare with."""
_INSIDE: Final = 0.1
"""How far from its outline a face is surely skin, as a share of the side."""
_REACH: Final = (0.06, 0.025)
"""Over how much colours are compared, as shares of the side: means of all hair, and of a lock's."""
_FAR: Final = 0.13
"""How far from hair a lock may reach, as a share of the side."""
_SURE: Final = (0.5, 24.0)
"""Distance to hair over distance to skin, CIELAB, below which, and distance to skin above which a
pixel is hair."""
_MAYBE: Final = (0.8, 14.0)
"""The same for what may be hair."""


def without_locks(image: NDArray[np.uint8], label: Labels, points: NDArray[np.floating]) -> Labels:
    """A label map in which locks over the face are hair, or unsure.

    Args:
        image: ``(S, S, 3)`` RGB.
        label: ``(S, S)`` class ids.
        points: ``(478, 3)`` landmarks in pixels. Beards look like hair: there nothing is sure.
    """
    side = len(label)
    skin, hair = label == _SKIN, label == _HAIR
    solid = np.isin(label, [*_FACE, UNSURE]).astype(np.uint8)
    inside = skin & (cv2.distanceTransform(solid, cv2.DIST_L2, 5) > _INSIDE * side)
    core = cv2.erode(hair.astype(np.uint8), disc(round(0.012 * side))) > 0
    if min(inside.sum(), core.sum()) < _LEAST * label.size:
        return label
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    away = np.linalg.norm(lab - _colour(lab, inside, _REACH[0] * side), axis=-1)
    near = np.minimum.reduce(
        [np.linalg.norm(lab - _colour(lab, core, r * side), axis=-1) for r in _REACH]
    )
    there = skin & (cv2.dilate(hair.astype(np.uint8), disc(round(_FAR * side))) > 0)
    sure, maybe = (
        there & (near < ratio * away) & (away > least) for ratio, least in (_SURE, _MAYBE)
    )
    sure = _grown_from(hair, sure)
    # A lock is surrounded by a mixture.
    around = cv2.dilate(sure.astype(np.uint8), disc(2)) > 0
    found = np.where(skin & (_grown_from(hair, maybe | sure) | around), np.uint8(UNSURE), label)
    jaw = region_polygon_mask(np.asarray(points), "beard", side) > 0
    seen = [np.asarray(skin & ~around & part, np.float32) for part in (~jaw, jaw)]
    if beardedness(np.asarray(image / 255, np.float32), *seen) > 0:
        sure = sure & ~jaw
    return np.where(sure, np.uint8(_HAIR), found).astype(np.uint8)


def _colour(lab: Floats, part: NDArray[np.bool_], reach: float) -> Floats:
    """The mean colour ``(S, S, 3)`` of a part near each pixel; of all of it, where none is near."""
    side = 2 * round(reach * 1.5) + 1
    weight = np.asarray(part, np.float32)
    near = cv2.blur(weight, (side, side))[..., None]
    mean = cv2.blur(lab * weight[..., None], (side, side)) / np.maximum(near, 1e-4)
    return np.asarray(np.where(near > 0.02, mean, lab[part].mean(0)), np.float32)


def _grown_from(hair: NDArray[np.bool_], part: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pieces of a part that touch hair; single pixels are left out."""
    opened = cv2.morphologyEx(part.astype(np.uint8), cv2.MORPH_OPEN, disc(1))
    beside = cv2.dilate(hair.astype(np.uint8), disc(2)) > 0
    return reaching(np.asarray(opened, np.uint8), beside)
