# SPDX-License-Identifier: Apache-2.0
"""The loss of heat maps whose expected positions shall be given places."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def heat_loss(heat: Tensor, places: Tensor) -> Tensor:
    """Cross-entropy against each place, shared out to the four cells around it.

    A single cell as the answer would pull every position to a cell's centre.

    Args:
        heat: ``(B, K, h, w)`` logits.
        places: ``(B, K, 2)``, (x, y) in widths and heights of the picture from its centre; those
            that no four cells surround do not count.
    """
    wanted, inside = heat_targets(places, (heat.shape[-2], heat.shape[-1]))
    return F.cross_entropy(heat.flatten(2)[inside].float(), wanted[inside])


def heat_targets(places: Tensor, cells: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """What heat maps should be.

    Args:
        places: ``(B, K, 2)``, see :func:`heat_loss`.
        cells: height and width of the maps.

    Returns:
        ``(B, K, h * w)``, sums to 1; and ``(B, K)`` bool, whether four cells surround the place.
    """
    height, width = cells
    size = places.new_tensor([width, height])
    place = (places + 0.5) * size - 0.5
    low = place.floor().clamp(min=0).minimum(size - 2)
    share = place - low
    inside = ((share >= 0) & (share <= 1)).all(-1)
    wanted = places.new_zeros(*places.shape[:2], height * width)
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        across = share[..., 0] if right else 1 - share[..., 0]
        along = share[..., 1] if down else 1 - share[..., 1]
        cell = (low[..., 1] + down) * width + low[..., 0] + right
        wanted.scatter_(2, cell.long()[..., None], (across * along).clamp(0, 1)[..., None])
    return wanted, inside
