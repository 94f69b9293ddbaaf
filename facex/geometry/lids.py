# SPDX-License-Identifier: Apache-2.0
"""What a lid looks like that no photo shows shut: the mean lids of the training faces.

The means are relative to the skin around the eye, in two bands of the eye itself: from above the
crease to the edge of the upper lid, and from the edge of the lower one to below it. Made by
``facex.train.fit_lids``.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facex.geometry.band import band_grid
from facex.geometry.means import read_means
from facex.geometry.topology import EYES

Floats = NDArray[np.float32]

BANDS: Final = ((24, 48), (12, 48))
"""Rows and columns of the upper and the lower mean, outer corner of the eye first."""

_AROUND: Final = (
    (130, 247, 30, 29, 27, 28, 56, 190, 243, 112, 26, 22, 23, 24, 110, 25),
    (359, 467, 260, 259, 257, 258, 286, 414, 463, 341, 256, 252, 253, 254, 339, 255),
)
"""The next ring of the mesh round each of ``EYES``, point by point."""
_ABOVE: Final = ((113, 225, 224, 223, 222, 221, 189), (342, 445, 444, 443, 442, 441, 413))
"""The row above the upper half of that ring."""
_UP: Final = 0.5
"""How far from that ring to the row above it the upper band begins."""


@cache
def mean_lids() -> tuple[Floats, Floats]:
    """Upper and lower mean ``(rows, columns, 3)``, relative to the skin around the eye."""
    means = read_means("lids.png")
    rows = BANDS[0][0]
    return means[:rows], means[rows:]


def lid_outline(points: NDArray[np.floating], eye: int) -> NDArray[np.float64]:
    """Loop ``(16, 2)`` round the lids of eye 0 (right) or 1 of ``(478, 2 or 3)``."""
    xy = np.asarray(points, np.float64)[:, :2]
    ring = xy[list(_AROUND[eye])]
    ring[1:8] += _UP * (xy[list(_ABOVE[eye])] - ring[1:8])
    return ring


def lid_grids(points: NDArray[np.floating], eye: int) -> tuple[Floats, Floats]:
    """Places of the upper and the lower band of an eye, ``(rows, columns, 2)`` each."""
    ring = lid_outline(points, eye)
    edge = np.asarray(points, np.float64)[list(EYES[eye]), :2]
    first, last = ring[:1], ring[8:9]
    upper_edge = np.concatenate([first, edge[:9], last])
    lower_edge = np.concatenate([first, edge[:1], edge[:7:-1], last])
    below = np.concatenate([first, ring[:8:-1], last])
    return (
        band_grid(ring[:9], upper_edge, BANDS[0]),
        band_grid(lower_edge, below, BANDS[1]),
    )


def lid_height(points: NDArray[np.floating], eye: int) -> float:
    """Mean height of the upper band, in the points' unit."""
    upper, _ = lid_grids(points, eye)
    return float(np.linalg.norm(upper[-1] - upper[0], axis=-1).mean())
