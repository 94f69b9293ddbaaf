# SPDX-License-Identifier: Apache-2.0
"""Region features of the mini model: the parser's own maps, pooled by its masks.

The paper pools features of a CLIP encoder at three scales (phi^Reg, section 3.1). The mini model
has no second encoder: the decoder maps of the parser at three scales tell what a region looks like
(hair type, brow shape, frames), and the region's colours are added in plain numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from facex.ford.outlines import mended_outlines
from facex.ford.parsing import ParsingNet
from facex.geometry.topology import region_polygon_mask
from facex.imaging.colour import srgb_to_lab
from facex.types import REGION_CLASSES, REGIONS, Region

COLOUR_FEATURES: Final = 7
"""Mean and spread of L, a, b, and the region's share of the crop."""

_MIN_SHARE: Final = 4e-4


def soft_region_masks(parsing: Tensor, landmarks: Tensor) -> Tensor:
    """Masks of all regions.

    Args:
        parsing: ``(B, S, S)`` uint8 class ids.
        landmarks: ``(B, 478, 3)`` in pixels of the crop.

    Returns:
        ``(B, 13, S, S)`` float in {0, 1}; beard and skin do not overlap.
    """
    size = parsing.shape[-1]
    masks = []
    for region in REGIONS:
        mask = torch.zeros(parsing.shape, device=parsing.device)
        for index in REGION_CLASSES[region]:
            mask = mask + (parsing == index)
        masks.append(mask)
    stacked = torch.stack(masks, 1)
    skin, beard = REGIONS.index(Region.SKIN), REGIONS.index(Region.BEARD)
    for face, points in enumerate(landmarks.detach().cpu().numpy()):
        area = torch.from_numpy(region_polygon_mask(points, "beard", size).astype(np.float32))
        lower = stacked[face, skin] * area.to(stacked.device)
        stacked[face, beard] = lower
        stacked[face, skin] = stacked[face, skin] - lower
    return stacked


class ParsingRegionExtractor:
    """Provides ``parsing`` and the features of the regions that it cuts out.

    Args:
        net: the parser.
        levels: which of its decoder maps are pooled; 1, 2, 3 are at 1/16, 1/8 and 1/4.
    """

    provides = ("parsing", "region_features", "region_present")

    def __init__(self, net: ParsingNet, levels: tuple[int, ...] = (1, 2, 3)) -> None:
        self.net, self.levels = net, levels

    @torch.no_grad()
    def __call__(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Any]:
        """Parse and pool crops ``(B, 3, S, S)`` in [-1, 1]; needs ``landmarks``."""
        logits, maps = self.net.logits_and_features(crop)
        labels, points = logits.argmax(1).byte().cpu().numpy(), fields["landmarks"].cpu().numpy()
        mended = [mended_outlines(*pair) for pair in zip(labels, points, strict=True)]
        parsing = torch.from_numpy(np.stack(mended)).to(crop.device)
        masks = soft_region_masks(parsing, fields["landmarks"])
        parts = []
        for level in self.levels:
            features = maps[level].float()
            small = F.interpolate(masks, size=features.shape[-2:], mode="area")
            parts.append(_pool(features, small))
        lab = srgb_to_lab(crop.float().clamp(-1, 1) / 2 + 0.5) / 100
        mean, square = _pool(torch.cat([lab, lab**2], 1), masks).chunk(2, -1)
        spread = (square - mean**2).clamp_min(0).sqrt()
        share = masks.mean((2, 3))
        parts += [mean * 2, spread * 4, share.unsqueeze(-1) * 4]
        present = share > _MIN_SHARE
        features = torch.cat(parts, -1) * present.unsqueeze(-1)
        return {"parsing": parsing, "region_features": features, "region_present": present}


def _pool(maps: Tensor, masks: Tensor) -> Tensor:
    """Mean of maps ``(B, C, h, w)`` over each mask ``(B, R, h, w)``: ``(B, R, C)``."""
    area = masks.sum((2, 3)).unsqueeze(-1)
    return torch.einsum("bchw,brhw->brc", maps, masks) / area.clamp_min(1e-3)
