# SPDX-License-Identifier: Apache-2.0
"""Folds that an expression throws: the shade of a smile beside the mouth, of a frown on the brow.

A mesh moves skin, but does not crease it. How the brightness of each place of a face follows its
blendshapes was fitted to people who were photographed with several expressions
(``facex.train.fit_folds``); a change of expression takes the old folds' shade off and puts the new
ones' on.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from facex.geometry.face_chart import face_chart, looked_up
from facex.geometry.raster import draw
from facex.geometry.shape_model import bundled_mesh

Floats = NDArray[np.float32]

FILE: Final = "folds.safetensors"
STRENGTH: Final = 0.5
"""How much of what was fitted is shown. Folds are everybody's own: with all of the mean ones people
are recognised less well, also against true photos of the same expression."""
MOST: Final = 0.35
"""Largest change of a logarithm of brightness: beyond what was fitted to."""


@cache
def bundled_folds() -> Floats:
    """Change of the logarithm of brightness ``(52, M)`` at each texel by each blendshape."""
    stored = load((resources.files("facex.geometry") / FILE).read_bytes())
    return np.asarray(stored["basis"].astype(np.float32) * stored["scale"][:, None], np.float32)


def fold_shade(points: NDArray[np.floating], change: NDArray[np.floating], size: int) -> Floats:
    """How much darker or brighter a face becomes with another expression.

    Args:
        points: ``(478, 3)`` landmarks in pixels.
        change: ``(52,)``, by how much each blendshape changes.
        size: side of the picture.

    Returns:
        ``(S, S)``, factors of brightness; 1 beside the face, and at eyes, brows, nostrils and lips.
    """
    chart, mesh = face_chart(), bundled_mesh()
    drawing = draw(np.asarray(points, np.float64), (size, size), mesh)
    keep = ~mesh.mouth[drawing.covering]
    shade = STRENGTH * np.asarray(change, np.float32) @ bundled_folds()
    texture = chart.picture(shade[:, None].astype(np.float32))
    place = (chart.at(drawing, mesh)[keep] - 0.5).astype(np.float32)
    result = np.zeros(size * size, np.float32)
    result[drawing.pixels[keep]] = np.clip(looked_up(texture, place)[:, 0], -MOST, MOST)
    return np.exp(result.reshape(size, size))
