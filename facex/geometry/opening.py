# SPDX-License-Identifier: Apache-2.0
"""How far a mouth is open says the person whose expression it is, whoever's lips they are.

Blendshapes open another's lips by as much as they would open the mean face's: thick lips that were
shut overlap or stay apart. A mouth that should be shut and is not, or shows teeth that should be
hidden, is the first thing that is seen of a face.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import torch
from torch import Tensor

from facex.geometry.face_geometry import FaceGeometry
from facex.geometry.pose import unplace
from facex.geometry.shape_model import ShapeModel, bundled
from facex.geometry.topology import LIPS_INNER, LIPS_OUTER

_HALF: Final = len(LIPS_INNER) // 2
_UPPER: Final = list(LIPS_INNER[1:_HALF])
_LOWER: Final = list(LIPS_INNER[:_HALF:-1])
_CORNERS: Final = (LIPS_INNER[0], LIPS_INNER[_HALF])
_OUTER_HALF: Final = len(LIPS_OUTER) // 2
_UPPER_SHARE: Final = 0.3
"""How much of a change of the gap the upper lip makes; the jaw makes the rest."""
_ALONG: Final = 0.12
"""Reach of a lip's point along the lips, in pupil distances of the mean face."""
_REACH: Final = (0.14, 0.35)
"""How far skin above the upper lip and below the lower one goes along."""
_MOST: Final = 0.4
"""Largest change of a gap, in widths of the mouth."""


def match_opening(
    result: FaceGeometry, teller: FaceGeometry, model: ShapeModel | None = None
) -> FaceGeometry:
    """Open a result's mouth as far as another's is, in widths of the mouth.

    Args:
        result: geometry, a batch of any size.
        teller: whose expression it has, a batch of the same size.
        model: the shape model; the bundled one by default.

    Returns:
        The geometry with other landmarks and residual.
    """
    model = model or bundled()
    own = unplace(result.landmarks, result.pose(model))
    theirs = unplace(teller.landmarks, teller.pose(model))
    width, wanted_width = (
        (p[:, _CORNERS[1]] - p[:, _CORNERS[0]]).norm(dim=-1) for p in (own, theirs)
    )
    gap, wanted = (p[:, _LOWER] - p[:, _UPPER] for p in (own, theirs))
    change = wanted * (width / wanted_width.clamp_min(1e-6))[:, None, None] - gap
    # Across the mouth nothing moves: the columns of the two mouths are not the same.
    change = change * change.new_tensor([0.0, 1.0, 1.0])
    size = change.norm(dim=-1, keepdim=True)
    change = change * (_MOST * width[:, None, None] / size.clamp_min(1e-6)).clamp_max(1.0)
    up, down = (weight.to(change) for weight in _weights())
    offset = -_UPPER_SHARE * up @ change + (1 - _UPPER_SHARE) * down @ change
    return result.moved(offset)


@cache
def _weights() -> tuple[Tensor, Tensor]:
    """How far points go with each of the upper lip's, and of the lower lip's, (478, n) each."""
    mean = bundled().mean
    upper, lower = mean[_UPPER], mean[_LOWER]
    line = (upper[:, 1].mean() + lower[:, 1].mean()) / 2
    below = mean[:, 1] > line
    below[[*LIPS_INNER[1:_HALF], *LIPS_OUTER[1:_OUTER_HALF]]] = False
    below[[*LIPS_INNER[_HALF + 1 :], *LIPS_OUTER[_OUTER_HALF + 1 :]]] = True
    weights = []
    for lip, side, reach in ((upper, ~below, _REACH[0]), (lower, below, _REACH[1])):
        distance = torch.cdist(mean, lip)
        along = torch.exp(-0.5 * ((mean[:, None, 0] - lip[None, :, 0]) / _ALONG).square())
        share = along / along.sum(1, keepdim=True).clamp_min(1e-6)
        near = torch.exp(-0.5 * (distance.min(1).values / reach).square())
        # Beyond the corners of the mouth nothing goes along.
        beside = (mean[:, 0].abs() - mean[_CORNERS[1], 0]).clamp_min(0)
        near = near * torch.exp(-0.5 * (beside / _ALONG).square()) * side
        weights.append(share * near[:, None])
    for weight, points in zip(weights, (_UPPER, _LOWER), strict=True):
        weight[points] = torch.eye(len(points))
    for corner in _CORNERS:
        for weight in weights:
            weight[corner] = 0
    return weights[0], weights[1]
