# SPDX-License-Identifier: Apache-2.0
"""Region features: CLIP ViT-L/14, an adapter of three resolutions, mask pooling (paper, fig. 2).

The tower is frozen; the adapter (identity, 2x up, 4x up, merged) is trained with the controller.
The image processor of transformers is not used: resizing and normalising are two lines of torch,
stay differentiable and run where the crop is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self, cast

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from facex.errors import MissingExtra, WeightsCorrupt
from facex.ford.sd15.align import normalise, resize
from facex.ford.sd15.loading import check_layout, read_config, read_weights
from facex.geometry.topology import region_polygon_mask
from facex.types import PARSING_CLASSES, REGION_CLASSES, REGIONS, Region

CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Final = (0.26862954, 0.26130258, 0.27577711)
CLIP_WEIGHTS_NAME: Final = "model.safetensors"
MIN_PIXELS: Final = 1 / 512**2 * 16
"""A region is present from this share of the crop on: 16 px of a 512 px crop."""

_PREFIX: Final = "vision_model."
_NOT_VISION: Final = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")


def build_clip(config: Mapping[str, Any]) -> nn.Module:
    """Build an untrained vision tower.

    Args:
        config: fields of the vision tower's config.

    Raises:
        MissingExtra: transformers is not installed.
    """
    try:
        from transformers import CLIPVisionConfig, CLIPVisionModel
    except ImportError as error:
        raise MissingExtra("the sd15 model", "sd15") from error
    return cast(nn.Module, CLIPVisionModel(CLIPVisionConfig(**config)))


def load_clip(folder: str | Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Load the vision tower of a CLIP folder as transformers saves it, strictly and offline.

    Args:
        folder: holds ``config.json`` and ``model.safetensors``, of the whole CLIP (its text half
            is skipped) or of the vision tower alone.
        dtype: number format of the result.

    Raises:
        ModelNotFound: a file is missing.
        WeightsCorrupt: the files do not fit together.
        MissingExtra: transformers is not installed.
    """
    folder = Path(folder)
    config = read_config(folder)
    config = config.get("vision_config", config)
    skipped = ("architectures", "model_type", "torch_dtype", "dtype", "transformers_version")
    try:
        with torch.device("meta"):
            net = build_clip({k: v for k, v in config.items() if k not in skipped})
    except (TypeError, ValueError, AttributeError) as error:
        raise WeightsCorrupt(f"{folder}/config.json is no CLIP vision config: {error}") from error
    found = {
        name: tensor
        for name, tensor in read_weights(folder / CLIP_WEIGHTS_NAME).items()
        if not name.startswith(_NOT_VISION) and not name.endswith("position_ids")
    }
    found = {name.removeprefix(_PREFIX): tensor for name, tensor in found.items()}
    # Releases of transformers differ in whether the tower's own names carry the prefix.
    expected = net.state_dict()
    if any(name.startswith(_PREFIX) for name in expected):
        found = {_PREFIX + name: tensor for name, tensor in found.items()}
    check_layout(expected, found, folder / CLIP_WEIGHTS_NAME)
    net.load_state_dict(found, strict=True, assign=True)
    _fill_buffers(net)
    return net.to(dtype=dtype).eval()


def _fill_buffers(net: nn.Module) -> None:
    """Give the buffers that are in no checkpoint (the numbers of the positions) their values."""
    for name, buffer in list(net.named_buffers()):
        if not buffer.is_meta:
            continue
        if not name.endswith("position_ids"):
            raise WeightsCorrupt(f"CLIP buffer {name} has no known value")
        owner = net.get_submodule(name.rpartition(".")[0])
        owner.position_ids = torch.arange(buffer.shape[-1])[None]


class RegionAdapter(ModelMixin, ConfigMixin):
    """Three parallel branches over the tower's map: as it is, 2x and 4x up; then merged.

    Args:
        in_channels: width of the tower; 1024 for ViT-L/14.
        width: width of each branch.
        out_channels: width of a region feature.
    """

    @register_to_config
    def __init__(self, in_channels: int = 1024, width: int = 256, out_channels: int = 768) -> None:
        super().__init__()
        groups = 32 if width % 32 == 0 else 1
        self.reduce = nn.Conv2d(in_channels, width, 1)
        self.up2 = nn.Sequential(
            nn.ConvTranspose2d(width, width, 2, 2), nn.GroupNorm(groups, width), nn.GELU()
        )
        self.up4 = nn.Sequential(
            nn.ConvTranspose2d(width, width, 2, 2), nn.GroupNorm(groups, width), nn.GELU(),
            nn.ConvTranspose2d(width, width, 2, 2), nn.GroupNorm(groups, width), nn.GELU(),
        )  # fmt: skip
        self.merge = nn.Sequential(
            nn.Conv2d(3 * width, out_channels, 1), nn.GELU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(B, in_channels, g, g)`` to ``(B, out_channels, 4 g, 4 g)``."""
        x = self.reduce(features)
        fine = self.up4(x)
        branches = [F.interpolate(y, fine.shape[2:], mode="bilinear") for y in (x, self.up2(x))]
        return self.merge(torch.cat([*branches, fine], 1))


def region_masks(parsing: Tensor, landmarks: Tensor) -> Tensor:
    """Masks of the 13 regions.

    Args:
        parsing: ``(B, S, S)`` classes.
        landmarks: ``(B, 478, 3)`` in pixels of ``parsing``; they bound the beard.

    Returns:
        ``(B, 13, S, S)`` float32, 0 or 1, in the order of ``REGIONS``. The beard is part of the
        skin too.
    """
    classes = parsing.long()
    table = torch.zeros(len(REGIONS), len(PARSING_CLASSES))
    for index, region in enumerate(REGIONS):
        table[index, list(REGION_CLASSES[region])] = 1
    masks = table.to(parsing.device)[:, classes].transpose(0, 1).contiguous()
    lower = [
        torch.from_numpy(region_polygon_mask(points, "beard", parsing.shape[-1]))
        for points in landmarks.detach().float().cpu().numpy()
    ]
    beard = torch.stack(lower).to(masks)
    masks[:, REGIONS.index(Region.BEARD)] = beard * masks[:, REGIONS.index(Region.SKIN)]
    return masks


def pool_regions(features: Tensor, masks: Tensor) -> Tensor:
    """Mean feature of each region.

    Args:
        features: ``(B, C, h, w)``.
        masks: ``(B, R, S, S)``; shrunk to (h, w) by area, so thin regions keep their weight.

    Returns:
        ``(B, R, C)``; 0 for empty regions.
    """
    weights = F.interpolate(masks.to(features.dtype), features.shape[2:], mode="area").flatten(2)
    total = weights.sum(2, keepdim=True)
    return weights @ features.flatten(2).transpose(1, 2) / total.clamp_min(1e-6)


class ClipRegionExtractor(nn.Module):
    """Provides ``region_features`` (B, 13, Dr) and ``region_present``.

    Needs ``parsing`` and ``landmarks``. Only the adapter has trainable parameters.

    Args:
        clip: vision tower from :func:`load_clip`.
        adapter: trained together with the controller.
    """

    provides = ("region_features", "region_present")

    def __init__(self, clip: nn.Module, adapter: RegionAdapter) -> None:
        super().__init__()
        self.clip = clip.eval().requires_grad_(False)
        self.adapter = adapter

    def train(self, mode: bool = True) -> Self:
        """Switch the adapter; the tower stays in evaluation mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def forward(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Read crops ``(B, 3, S, S)`` in [-1, 1]; differentiable."""
        size = int(cast(Any, self.clip).config.image_size)
        dtype = next(self.clip.parameters()).dtype
        images = normalise(resize(crop.to(dtype), size, "bicubic"), CLIP_MEAN, CLIP_STD)
        tokens = self.clip(pixel_values=images).last_hidden_state[:, 1:]
        side = round(tokens.shape[1] ** 0.5)
        grid = tokens.transpose(1, 2).unflatten(2, (side, side))
        merged = self.adapter(grid.to(next(self.adapter.parameters()).dtype)).float()
        masks = region_masks(fields["parsing"], fields["landmarks"])
        return {
            "region_features": pool_regions(merged, masks),
            "region_present": masks.mean((2, 3)) >= MIN_PIXELS,
        }
