# SPDX-License-Identifier: Apache-2.0
"""Where points are, read from a heat map each.

A map follows turns and shifts of a face by construction, and in minutes a network learns from a
loss per place what it does not learn from a regression of all places at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHARPEN: Final = 10.0
"""Factor of the logits: sharp maps grow within few steps."""


def merged(
    maps: Sequence[Tensor], lateral: Sequence[nn.Module], refine: Sequence[nn.Module]
) -> Tensor:
    """Feature maps of several resolutions as one, at the first one's.

    Args:
        maps: of falling resolution, each half as high and wide as the one before.
        lateral: for each of them, brings it to the common width.
        refine: for each but the last, looks at the sum.
    """
    x: Tensor = lateral[-1](maps[-1])
    for step in range(len(maps) - 2, -1, -1):
        skip = lateral[step](maps[step])
        x = refine[-1 - step](F.interpolate(x, size=skip.shape[-2:], mode="bilinear") + skip)
    return x


def expected_positions(heat: Tensor) -> Tensor:
    """Expected positions of heat maps' softmax.

    Args:
        heat: ``(B, K, h, w)`` logits.

    Returns:
        ``(B, K, 2)`` float32, (x, y) in widths and heights of the picture from its centre.
    """
    # bfloat16 would count the picture's side in steps of half a pixel.
    with torch.autocast(heat.device.type, enabled=False):
        weight = heat.flatten(2).float().softmax(-1)
        height, width = heat.shape[-2:]
        v = (torch.arange(height, device=heat.device) + 0.5) / height - 0.5
        u = (torch.arange(width, device=heat.device) + 0.5) / width - 0.5
        grid = torch.stack(torch.meshgrid(u, v, indexing="xy"), -1).flatten(0, 1)
        return weight @ grid
