# SPDX-License-Identifier: Apache-2.0
"""A hole in a face, filled first from the face's other half."""

from __future__ import annotations

from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.fill import borrow
from facex.geometry.extend import smoothstep
from facex.geometry.shape_model import bundled
from facex.geometry.texture_map import WarpField, apply_warp, mesh_warp
from facex.geometry.topology import region_polygon_mask

Floats = NDArray[np.float32]

TRUST: Final = 0.45
"""How much the mirrored half counts as known; just above the threshold of being shown."""

DRAWN_OUT: Final = 1.7
"""Area growth, in that of the other half, from which on the other half shows a place better."""
_CLEARLY: Final = 2.2
"""The same from which on it alone is shown."""
_WHOLE: Final = 0.05
"""Deviation of the blur of that growth, in sides: an eye comes from one half as a whole."""
_TURNING: Final = 0.012
"""Half the width of the line along which the halves go over into each other, in sides."""


@cache
def mirror_points() -> NDArray[np.int64]:
    """(478,) the point on the other side of each point."""
    return bundled().mirror.numpy()


def flipped(points: NDArray[np.floating], width: float) -> NDArray[np.float64]:
    """The landmarks ``(478, 3)`` of the mirror image of a picture that is ``width`` pixels wide."""
    return np.asarray(points, np.float64)[mirror_points()] * [-1.0, 1.0, 1.0] + [width, 0.0, 0.0]


def other_half(points: NDArray[np.floating], *pictures: Floats) -> tuple[Floats, ...]:
    """What a face shows in the same place of its other half.

    Args:
        points: ``(478, 3)`` landmarks in pixels.
        pictures: of the face, ``(S, S)`` or ``(S, S, C)``.

    Returns:
        Where the other half shows anything, ``(S, S)`` in [0, 1], and each of the pictures as it
        shows them.
    """
    size = pictures[0].shape[0]
    field = mesh_warp(flipped(points, size), points, size, extend=False)
    turned = (apply_warp(field, np.ascontiguousarray(picture[:, ::-1])) for picture in pictures)
    return field.visible, *(np.asarray(picture, np.float32) for picture in turned)


def usable_half(
    image: Floats, known: Floats, points: NDArray[np.floating]
) -> tuple[Floats, Floats]:
    """What the other half of a face shows in the same place, and where that is of use.

    Args:
        image: ``(S, S, 3)`` in [0, 1].
        known: ``(S, S)`` in [0, 1].
        points: ``(478, 3)`` landmarks in pixels.

    Returns:
        ``(S, S, 3)``, and ``(S, S)`` in [0, 1].
    """
    visible, other, seen = other_half(points, image, known)
    # Between known and unknown a warp mixes: only what is wholly known is of use.
    return other, np.asarray(visible * np.clip(4 * seen - 3, 0, 1), np.float32)


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
    other, usable = usable_half(image, known, points)
    return borrow(image, known, other, usable, TRUST, match=np.ones_like(known))


def softly_turned(visible: Floats, usable: Floats, points: NDArray[np.floating]) -> Floats:
    """Where a face turned away is shown, less along the line where it turns.

    Its last pixels are drawn out into creases; the other half goes over there.

    Args:
        visible: ``(S, S)`` in [0, 1], where its own half is shown.
        usable: ``(S, S)`` in [0, 1], where the other half could be.
        points: ``(478, 3)`` landmarks of the result in pixels.
    """
    size = visible.shape[0]
    reach = 2 * max(1, round(_TURNING * size)) + 1
    kernel = np.ones((reach, reach), np.uint8)
    hidden = cv2.morphologyEx(np.asarray(visible < 0.5, np.uint8), cv2.MORPH_OPEN, kernel)
    # What is hidden in an open mouth is no other half.
    lips = cv2.dilate(region_polygon_mask(points, "lips", size), kernel)
    near = cv2.dilate(hidden * (1 - lips), kernel).astype(np.float32)
    near = np.asarray(cv2.blur(near, (reach, reach)), np.float32) * usable
    return np.asarray(visible * (1 - near), np.float32)


def sharper(own: WarpField, other: WarpField) -> Floats:
    """Where a face's own half is shown, less where it is drawn out and the other half is not.

    Of a head turned by 40 degrees the far eye takes up half as many pixels as the near one, and
    landmarks are least sure there.

    Args:
        own: carries the picture into the result.
        other: carries its mirror image.

    Returns:
        ``(S, S)`` in [0, 1].
    """
    both = (own.inside > 0) & (own.stretch > 0) & (other.stretch > 0) & (other.visible > 0.5)
    growth = np.log(np.where(both, own.stretch, 1) / np.where(both, other.stretch, 1))
    sigma = _WHOLE * own.inside.shape[0]
    weight = cv2.GaussianBlur(both.astype(np.float32), (0, 0), sigma)
    mean = cv2.GaussianBlur(growth.astype(np.float32), (0, 0), sigma) / np.maximum(weight, 1e-4)
    drawn_out = smoothstep(float(np.log(DRAWN_OUT)), float(np.log(_CLEARLY)), mean)
    return np.asarray(1 - drawn_out * (other.visible > 0.5), np.float32)
