# SPDX-License-Identifier: Apache-2.0
"""What is behind the lips when no photo shows it: the mean mouth of the training faces.

A closed mouth that is asked to open has no teeth to show. Five means, from a slit to wide open, are
kept in the frame of the mouth itself: across from corner to corner, down from lip to lip. Made by
``facex.train.fit_mouth``.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.geometry.band import band_grid, filled, paint_band
from facex.geometry.means import read_means
from facex.geometry.topology import LIPS_INNER

Floats = NDArray[np.float32]

OPENNESS: Final = (0.12, 0.21, 0.32, 0.5, 0.8)
"""Height over width of the mouths that each mean was taken from."""
GRID: Final = (24, 48)
"""Rows and columns of a mean."""

_MOUTH_CORNERS: Final = (78, 308)
_OUTER_EYES: Final = (33, 263)
_UPPER_LIP: Final = 13
_WIDTHS: Final = (0.52, 0.60)
"""Width between the mouth's corners over that between the outer corners of the eyes, at rest and in
a smile (median of the training faces: .50, .67)."""
_ARCHES: Final = (0.02, 0.12)
"""Height of the upper lip over the corners, in widths, in a smile and with a dropped jaw (medians:
-.03 and .19)."""
_DROPPED: Final = (2.2, 0.5)
"""Factor and least value of the openness whose mean shows a jaw that drops without a smile: few
photos have that, so the middle means are smiles, with teeth from lip to lip."""
_TYPICAL_SKIN: Final = np.array([0.85, 0.65, 0.55], np.float32)


@cache
def mean_mouths() -> Floats:
    """``(5, 24, 48, 3)`` colours relative to the face's mean skin."""
    return read_means("mouth.png").reshape(len(OPENNESS), *GRID, 3)


def mouth_grid(points: NDArray[np.floating], shape: tuple[int, int] = GRID) -> tuple[Floats, float]:
    """Places between the inner lips, from lip to lip and from corner to corner, and the openness.

    Args:
        points: ``(478, 2 or 3)``.
        shape: rows and columns.

    Returns:
        ``(rows, columns, 2)`` in the points' unit, and the mouth's height over its width.
    """
    ring = np.asarray(points, np.float64)[list(LIPS_INNER), :2]
    half = len(ring) // 2
    upper, lower = ring[: half + 1], np.concatenate([ring[half:], ring[:1]])[::-1]
    grid = band_grid(upper, lower, shape)
    width = max(float(np.linalg.norm(ring[half] - ring[0])), 1e-6)
    # From the first row's middle to the last one's it is a row less than from lip to lip.
    first, *_, last = grid[:, shape[1] // 2]
    gap = float(np.linalg.norm(last - first)) * shape[0] / (shape[0] - 1)
    return grid, gap / width


def mouth_mask(points: NDArray[np.floating], size: int) -> Floats:
    """``(S, S)``, 1 between the inner lips; points in pixels."""
    ring = np.asarray(points, np.float64)[list(LIPS_INNER), :2]
    return cv2.GaussianBlur(filled(ring, size), (0, 0), max(0.5, size / 400))


def _dropped(points: NDArray[np.floating]) -> float:
    """1 where the jaw drops without a smile, 0 for a smile.

    A smile is wide, and its upper lip no higher than the corners.
    """
    xy = np.asarray(points, np.float64)[:, :2]
    (right, left), eyes = (xy[list(pair)] for pair in (_MOUTH_CORNERS, _OUTER_EYES))
    along = left - right
    length = max(float(np.linalg.norm(along)), 1e-6)
    width = length / max(float(np.linalg.norm(eyes[0] - eyes[1])), 1e-6)
    offset = xy[_UPPER_LIP] - (right + left) / 2
    arch = float(along[1] * offset[0] - along[0] * offset[1]) / length**2
    rest = (_WIDTHS[1] - width) / (_WIDTHS[1] - _WIDTHS[0])
    arched = (arch - _ARCHES[0]) / (_ARCHES[1] - _ARCHES[0])
    return float(np.clip(max(rest, arched), 0, 1))


def draw_mouth(
    points: NDArray[np.floating], size: int, skin: Floats, dropped: float | None = None
) -> Floats:
    """The mean mouth ``(S, S, 3)`` in its place, 0 elsewhere.

    Args:
        points: ``(478, 2 or 3)`` in pixels.
        size: side of the picture in pixels.
        skin: (3,) mean colour of the face's skin, RGB in [0, 1].
        dropped: 1 for a cavity, 0 for a smile's teeth; None judges by the lips.
    """
    _, openness = mouth_grid(points)
    means = mean_mouths()
    dropped = _dropped(points) if dropped is None else dropped
    openness += dropped * (max(_DROPPED[0] * openness, _DROPPED[1]) - openness)
    at = float(np.interp(openness, OPENNESS, np.arange(len(OPENNESS))))
    low, share = min(int(at), len(means) - 2), at - min(int(at), len(means) - 2)
    texture = means[low] * np.float32(1 - share) + means[low + 1] * np.float32(share)
    # Teeth do not darken with the skin, only with the light.
    light = np.sqrt(max(float(skin.mean()), 0.02) / float(_TYPICAL_SKIN.mean()))
    texture = np.asarray(texture * (skin + _TYPICAL_SKIN * np.float32(light)) / 2, np.float32)
    return paint_mouth(texture, points, size)


def paint_mouth(texture: Floats, points: NDArray[np.floating], size: int) -> Floats:
    """A mouth's inside in its place ``(S, S, 3)``, 0 elsewhere.

    Args:
        texture: ``(rows, columns, 3)`` in [0, 1], on the places of :func:`mouth_grid`.
        points: ``(478, 2 or 3)`` in pixels.
        size: side of the picture in pixels.
    """
    grid, _ = mouth_grid(points, texture.shape[:2])
    return np.clip(paint_band(texture, grid, size), 0, 1)
