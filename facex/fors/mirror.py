# SPDX-License-Identifier: Apache-2.0
"""A hole in a face, filled first from the face's other half."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facex.fors.fill import borrow
from facex.geometry.shape_model import bundled
from facex.geometry.texture_map import apply_warp, mesh_warp

Floats = NDArray[np.float32]

TRUST: Final = 0.45
"""How much the mirrored half counts as known; just above the threshold of being shown."""


@cache
def mirror_points() -> NDArray[np.int64]:
    """(478,) the point on the other side of each point."""
    return bundled().mirror.numpy()


def flipped(points: NDArray[np.floating], width: float) -> NDArray[np.float64]:
    """The landmarks ``(478, 3)`` of the mirror image of a picture that is ``width`` pixels wide."""
    return np.asarray(points, np.float64)[mirror_points()] * [-1.0, 1.0, 1.0] + [width, 0.0, 0.0]


def fill_from_other_half(
    image: Floats, known: Floats, points: NDArray[np.floating]
) -> tuple[Floats, Floats]:
    """Fill what is unknown of a face with its mirror image, in the colours around the hole.

    Faces are nearly symmetric, so this is a better guess than none; light and gaze are not, which
    the generator has to correct.

    Args:
        image: ``(S, S, 3)`` in [0, 1].
        known: ``(S, S)`` in [0, 1].
        points: ``(478, 3)`` landmarks in pixels.

    Returns:
        The image and how far it is known now.
    """
    if known.min() >= 1:
        return image, known
    size = image.shape[0]
    field = mesh_warp(flipped(points, size), points, size, extend=False)
    other = np.asarray(apply_warp(field, np.ascontiguousarray(image[:, ::-1])), np.float32)
    seen = np.asarray(apply_warp(field, np.ascontiguousarray(known[:, ::-1])), np.float32)
    # Between known and unknown a warp mixes: only what is wholly known is of use.
    usable = np.asarray(field.visible * np.clip(4 * seen - 3, 0, 1), np.float32)
    return borrow(image, known, other, usable, TRUST, match=np.ones_like(known))
