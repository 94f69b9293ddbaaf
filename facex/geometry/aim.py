# SPDX-License-Identifier: Apache-2.0
"""An expression on another face, moved until it reads as what it is.

The same blendshapes on another's lips and lids are read as other blendshapes: a wide mouth smiles
at rest. The network that read the photos' expressions from their landmarks says what the result's
landmarks would read as, and by how much to move which blendshape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import torch
from torch import Tensor

from facex.geometry.face_geometry import FaceGeometry
from facex.geometry.shape_model import ShapeModel, bundled
from facex.types import BLENDSHAPES

Reader: TypeAlias = Callable[[Tensor], Tensor]
"""Landmarks ``(B, 478, 3)`` to blendshapes ``(B, 52)`` in [0, 1]."""

_READ: Final = [not name.startswith(("_", "eyeLook")) for name in BLENDSHAPES]
"""Where eyes look is said by the irises, which are placed on their own."""
_STEPS: Final = 2
_RIDGE: Final = 0.2
"""Weight of the size of the change: of 300 pairs, an error of .029 became .016, with at most 2.7 px
of 256 a pair; a quarter of it gave .014 with 3.6 px."""
_MOST: Final = 0.4
"""Largest change of a blendshape."""
_TRIAL: Final = 0.02
"""Change that tells the slope of the reading; by differences, because edits record no gradients."""


@torch.no_grad()
def aim_expression(
    result: FaceGeometry, wanted: Tensor, read: Reader, model: ShapeModel | None = None
) -> FaceGeometry:
    """Move a result's landmarks until they read as the expression that was asked for.

    Args:
        result: geometry, a batch of any size; keeps its coefficients.
        wanted: ``(B, 52)`` blendshapes.
        read: says what landmarks read as.
        model: the shape model; the bundled one by default.

    Returns:
        The geometry with other landmarks and residual (Gauss-Newton, two steps).
    """
    model = model or bundled()
    rows = [
        _change(result.landmarks[n], result.scale[n] * result.rotation[n], goal, read, model)
        for n, goal in enumerate(wanted)
    ]
    offset = model.expression_offset(torch.stack(rows))
    return result.moved(offset)


def _change(
    points: Tensor, turn: Tensor, wanted: Tensor, read: Reader, model: ShapeModel
) -> Tensor:
    counted = torch.tensor(_READ, device=points.device).to(points.dtype)

    def reading(changes: Tensor) -> Tensor:
        return read(points + model.expression_offset(changes) @ turn.mT) * counted

    change = torch.zeros_like(wanted)
    every = torch.eye(len(change), dtype=change.dtype, device=change.device)
    for _ in range(_STEPS):
        found, *tried = reading(torch.cat([change[None], change + _TRIAL * every]))
        slope = ((torch.stack(tried) - found) / _TRIAL).mT * counted
        step = slope.mT @ (wanted * counted - found) - _RIDGE * change
        change = change + torch.linalg.solve(slope.mT @ slope + _RIDGE * every, step)
        change = change.clamp(-_MOST, _MOST)
    return change
