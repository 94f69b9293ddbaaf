# SPDX-License-Identifier: Apache-2.0
"""Where an edit by regions may change the photo."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from facex.fors.guess import FRINGE
from facex.fors.layers import LAYERS
from facex.fors.morphology import grow, resized
from facex.recipes.plan import Plan
from facex.recipes.values import TARGET
from facex.types import Region

Floats = NDArray[np.float32]


def editable(
    plan: Plan,
    result: Mapping[Region, Floats],
    own: Mapping[Region, Floats],
    bare: Floats | None,
    size: int,
    *,
    moved: bool,
) -> Floats:
    """The regions of an edit, where they were and where they are going to be.

    Args:
        plan: which regions are edited, and whose they are.
        result: masks of the result ``(S, S)`` in [0, 1].
        own: masks of the target, of any size.
        bare: the target's skin that is toned along, of any size, if any is.
        size: S.
        moved: the target moves; else its own hair, glasses and hat stay in front of the edit.

    Returns:
        ``(S, S)`` in [0, 1].
    """
    front = np.zeros((size, size), np.float32)
    now, before = np.zeros_like(front), np.zeros_like(front)
    for layer in LAYERS:
        for region in layer:
            if region in plan.edit:
                # Soft neighbours share their border's pixels: together they are whole.
                now += result.get(region, np.float32(0))
                before += resized(own[region], size)
            elif not moved and plan.pixels[region] == TARGET and layer in LAYERS[4:]:
                front = np.maximum(front, resized(own[region], size))
    if bare is not None:
        # Pasting softens inwards: what is toned lies inside of what may change.
        there = grow(resized(bare, size), max(1, round(size * FRINGE)))
        now, front = np.maximum(now, there), front * (1 - there)
    edit = np.minimum(np.maximum(now, before), 1)
    # Small parts need room: feathered inwards, an eye's own outline would keep the old iris.
    wide = edit.mean() < 0.03 or plan.edits_hair
    grown = grow(edit, max(1, round(size * (FRINGE if wide else 0.008))))
    return np.clip(grown * (1 - front), 0, 1)
