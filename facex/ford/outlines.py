# SPDX-License-Identifier: Apache-2.0
"""Outlines of noses and eyes in label maps, as the classes are meant and not as they are drawn.

Parsers, and those who label for them, pinch noses in beside their bridge, and draw eyes over their
lids, shut ones too. A nose reaches straight from its wings to its root; an eye is what is seen
between the lids. Both readings of a crop mend labels before training and answers after it.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.geometry.topology import EYES
from facex.types import PARSING_CLASSES

Labels = NDArray[np.uint8]

_SKIN, _NOSE, _RIGHT, _LEFT = (
    PARSING_CLASSES.index(name) for name in ("skin", "nose", "r_eye", "l_eye")
)

_FINER: Final = 8
"""Cells of a pixel's side in which it is told whether an eye is open there."""


def mended_outlines(label: Labels, points: NDArray[np.floating]) -> Labels:
    """A label map whose nose is convex, and whose eyes end at the lids.

    Args:
        label: ``(S, S)`` class ids.
        points: ``(478, 3)`` landmarks in pixels.
    """
    return _between_lids(_whole_nose(label), points)


def _whole_nose(label: Labels) -> Labels:
    count, pieces, sizes, _ = cv2.connectedComponentsWithStats((label == _NOSE).astype(np.uint8))
    if count < 2:
        return label
    largest = pieces == 1 + sizes[1:, cv2.CC_STAT_AREA].argmax()
    hull = cv2.convexHull(np.argwhere(largest)[:, ::-1].astype(np.int32))
    inside = cv2.fillConvexPoly(np.zeros(label.shape, np.uint8), hull, 1)
    return np.where((inside > 0) & (label == _SKIN), _NOSE, label).astype(np.uint8)


def _between_lids(label: Labels, points: NDArray[np.floating]) -> Labels:
    fine = np.zeros([_FINER * side for side in label.shape], np.uint8)
    for eye in EYES:
        # Anti-aliased polygons are half a pixel wider, which is much of an eye.
        loop = np.asarray(points, np.float64)[list(eye), :2] * _FINER - 0.5
        cv2.fillPoly(fine, [np.round(loop).astype(np.int32)], 255)
    opened = cv2.resize(fine, label.shape[::-1], interpolation=cv2.INTER_AREA) > 127
    lids = np.isin(label, (_RIGHT, _LEFT)) & ~opened
    return np.where(lids, _SKIN, label).astype(np.uint8)
