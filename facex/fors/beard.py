# SPDX-License-Identifier: Apache-2.0
"""Whether a jaw has a beard, told by its fine contrast: the parser has no class for it."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from facex.geometry.extend import ramp

Floats = NDArray[np.float32]

INNER: Final = 0.9
"""A mask's sure part."""
LEAST: Final = 50
"""Pixels, at the size looked at, below which nothing can be said."""
_LOOK: Final = 256
"""Side at which a beard is looked for."""
_RATIO: Final = (1.7, 2.4)
_FINE: Final = (0.02, 0.03)
"""Median fine contrast of a jaw, relative to the other skin's and alone, where a beard begins and
is sure. On 60 photos: nine of ten beards and stubble, and two shaven jaws that smile."""

_DRAINED: Final = (0.7, 0.85)
"""Lower quartile of the jaw's chroma, in that of the other skin's, below which it is drained, and
above which it is not."""


def beardedness(image: Floats, skin: Floats, jaw: Floats) -> float:
    """How sure a beard is.

    Args:
        image: ``(S, S, 3)`` RGB in [0, 1].
        skin: ``(S, S)`` in [0, 1], skin that is no jaw.
        jaw: ``(S, S)`` in [0, 1].

    Returns:
        0 to 1; 0 also where too little is seen.
    """
    small, inner = _looked_at(image, jaw, skin)
    fine = _fine(small)
    inner = [ndimage.binary_erosion(part, iterations=2) for part in inner]
    if min(part.sum() for part in inner) < LEAST:
        return 0.0
    own, other = (float(np.median(fine[part])) for part in inner)
    return ramp(own / max(other, 1e-6), *_RATIO) * ramp(own, *_FINE)


def drained(image: Floats, skin: Floats, jaw: Floats) -> float:
    """How sure it is that a jaw has less colour than the other skin: hair, short or grey, or shade.

    Grey stubble has hardly more contrast than wrinkles. Of 380 faces those below .7 have beards or
    dark jaws; who only wants to know what the skin below looks like is right with both.

    Args:
        image: as for :func:`beardedness`.
        skin: likewise.
        jaw: likewise.
    """
    small, inner = _looked_at(image, jaw, skin)
    lab = cv2.cvtColor(np.ascontiguousarray(small), cv2.COLOR_RGB2LAB)
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    if min(part.sum() for part in inner) < LEAST:
        return 0.0
    own, other = (float(np.percentile(chroma[part], 25)) for part in inner)
    return 1 - ramp(own / max(other, 1e-6), *_DRAINED)


def _looked_at(image: Floats, *parts: Floats) -> tuple[Floats, list[NDArray[np.bool_]]]:
    """A picture and the sure insides of its parts, at the size at which beards are looked for."""
    scale = _LOOK / image.shape[0]
    small = cv2.resize(image, (_LOOK, _LOOK), interpolation=cv2.INTER_AREA) if scale < 1 else image
    size = (small.shape[1], small.shape[0])
    return small, [cv2.resize(part, size, interpolation=cv2.INTER_AREA) > INNER for part in parts]


def _fine(image: Floats) -> Floats:
    """Relative contrast of what is finer than two pixels."""
    grey = np.log(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) + np.float32(0.03))
    return np.asarray(np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 2)), np.float32)
