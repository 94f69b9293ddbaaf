# SPDX-License-Identifier: Apache-2.0
"""Glasses of one training face put on another: frames as they are, tint and glare of their lenses.

What a network shall see through them stays known: it is read before they are put on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.geometry.topology import EYES
from facex.types import PARSING_CLASSES

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]

GLASSES: Final = PARSING_CLASSES.index("eye_g")
LEAST: Final = 200
"""Pixels of a 256 px label map that make a pair of glasses."""
_CLEAR: Final = 0.25
"""Share of the eyes' openings that may be hidden by glasses that eyes are seen through."""
_LENS: Final = 0.9
"""Radius of a lens, in widths of an eye."""
_GLARE: Final = 0.6
"""How often there is glare on a lens."""


def are_clear(label: Pixels, points: Points) -> bool:
    """Whether a label map ``(S, S)`` shows glasses, and eyes ``(478, 3)`` behind them."""
    if (label == GLASSES).sum() <= LEAST:
        return False
    eyes = np.zeros(label.shape, np.uint8)
    for ring in EYES:
        cv2.fillPoly(eyes, [np.round(points[list(ring), :2]).astype(np.int32)], 1)
    return bool((label == GLASSES)[eyes > 0].mean() < _CLEAR)


def put_on(
    image: Pixels,
    points: Points,
    donor: Pixels,
    label: Pixels,
    donor_points: Points,
    rng: np.random.Generator,
) -> Pixels:
    """Put a donor's glasses on a face.

    Args:
        image: ``(S, S, 3)``.
        points: ``(478, 3)`` landmarks in its pixels.
        donor: ``(S, S, 3)``, who wears glasses.
        label: ``(S, S)``, its classes.
        donor_points: ``(478, 3)`` in its pixels.
        rng: source of randomness.
    """
    there, here = _centres(points), _centres(donor_points)
    matrix = _similarity(here, there + rng.normal(0, 2.5, 2))
    size = image.shape[1], image.shape[0]
    frame = cv2.GaussianBlur((label == GLASSES).astype(np.float32), (0, 0), 0.7)
    worn = cv2.warpAffine(donor, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(frame, matrix, size)[..., None]
    face = _through_lenses(image.astype(np.float32), points, there, rng)
    return np.clip(face + (worn - face) * alpha, 0, 255).astype(np.uint8)


def _centres(points: Points) -> Points:
    return np.stack([points[list(ring), :2].mean(0) for ring in EYES])


def _similarity(source: Sequence[Points] | Points, result: Points) -> NDArray[np.float64]:
    """The matrix ``(2, 3)`` that maps two points to two points."""
    (a, b), (c, d) = source, result
    ratio = complex(*(d - c)) / complex(*(b - a))
    turn = np.array([[ratio.real, -ratio.imag], [ratio.imag, ratio.real]])
    return np.column_stack([turn, c - turn @ a])


def _through_lenses(
    image: NDArray[np.float32], points: Points, centres: Points, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Tint of both lenses, and glare: a bright band or spot across each."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    tint = rng.uniform(0.75, 1.05) * rng.uniform(0.95, 1.05, 3)
    glare, colour = rng.random() < _GLARE, rng.uniform(150, 255, 3)
    strength, angle, offset = rng.uniform(0.1, 0.7), rng.uniform(0, np.pi), rng.normal(0, 0.4)
    width, length = rng.uniform(0.08, 0.4), rng.uniform(0.3, 1.2)
    for ring, centre in zip(EYES, centres, strict=True):
        radius = _LENS * np.ptp(points[list(ring), 0])
        x, y = (columns - centre[0]) / radius, (rows - centre[1]) / radius
        lens = np.clip((1 - np.hypot(x, y)) * 6, 0, 1)
        image = image * (1 + (tint - 1) * lens[..., None])
        if glare:
            across = (x * np.cos(angle) + y * np.sin(angle) - offset) / width
            along = (y * np.cos(angle) - x * np.sin(angle)) / length
            bright = strength * lens * np.exp(-np.square(across) - np.square(along))
            image = image + (colour - image) * bright[..., None]
    return np.asarray(image, np.float32)
