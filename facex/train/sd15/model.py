# SPDX-License-Identifier: Apache-2.0
"""The networks of an sd15 run: the frozen base and all that is trained beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from facex.errors import OptionError
from facex.ford.representation import region_input
from facex.ford.sd15.align import normalise, resize
from facex.ford.sd15.clip_regions import CLIP_MEAN, CLIP_STD, RegionAdapter, load_clip, pool_regions
from facex.fors.conditioner import Conditioner
from facex.frc.base import Base
from facex.frc.condition import EditCondition
from facex.frc.controller import FaceXController
from facex.frc.pipeline import FaceXPipeline
from facex.models.folder import ModelIndex, load_scheduler, read_index
from facex.models.mini_ford import load_network
from facex.train.sd15.config import Sd15Config
from facex.types import REGIONS


class RegionEncoder(nn.Module):
    """phi^Reg while it is trained: CLIP tower, FPN branches, mask pooling.

    The same sums as ``ClipRegionExtractor``, but for masks that are pooled ahead, by the workers.

    Args:
        clip: vision tower.
        adapter: the branches.
    """

    def __init__(self, clip: nn.Module, adapter: RegionAdapter) -> None:
        super().__init__()
        self.clip, self.adapter = clip, adapter

    @property
    def cells(self) -> int:
        """Side of the feature map."""
        config: Any = self.clip.config
        return 4 * (int(config.image_size) // int(config.patch_size))

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Features ``(B, 13, Dr)`` of pictures ``(B, 3, S, S)`` under masks ``(B, 13, g, g)``."""
        config: Any = self.clip.config
        dtype = next(self.clip.parameters()).dtype
        small = resize(images.to(dtype), int(config.image_size), "bicubic")
        tokens = self.clip(pixel_values=normalise(small, CLIP_MEAN, CLIP_STD)).last_hidden_state
        side = self.cells // 4
        grid = tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        return pool_regions(self.adapter(grid).float(), masks)


class Sd15Model(nn.Module):
    """Base, controller, conditioner and phi^Reg as one module, for wrappers that spread it.

    Args:
        base: its UNet is a part of this module; the autoencoder is not, for it is only read.
        controller: is attached to the UNet for good.
        conditioner: phi^R, phi^Inp, phi^SD.
        regions: phi^Reg.
    """

    def __init__(
        self,
        base: Base,
        controller: FaceXController,
        conditioner: Conditioner,
        regions: RegionEncoder,
    ) -> None:
        super().__init__()
        self.unet = base.unet
        self.controller, self.conditioner, self.regions = controller, conditioner, regions
        controller.attach(base.unet)
        # In a tuple, so that it is no submodule.
        self._pipeline = (FaceXPipeline(base, controller, conditioner),)

    def train(self, mode: bool = True) -> Self:
        """Switch what is trained; the base stays in evaluation mode."""
        super().train(mode)
        self.unet.eval()
        return self

    def forward(
        self, condition: EditCondition, look: Tensor, masks: Tensor, noisy: Tensor, t: Tensor
    ) -> Tensor:
        """The anchored clean latent, as the sampler computes it.

        Args:
            condition: without the regions' inputs.
            look: ``(B, 3, S, S)`` in [-1, 1], from which the regions are read.
            masks: ``(B, 13, g, g)`` in [0, 1].
            noisy: ``(B, C, h, w)``.
            t: ``(B,)``.

        Returns:
            ``(B, C, h, w)``.
        """
        features = self.regions(look, masks)
        regions = {region_input(r): features[:, i : i + 1] for i, r in enumerate(REGIONS)}
        condition = replace(condition, inputs={**condition.inputs, **regions})
        pipeline = self._pipeline[0]
        encoded = pipeline.encode(condition)
        return pipeline.clean(encoded, encoded.context, noisy, t)[0]


def load_index(config: Sd15Config) -> ModelIndex:
    """The index of the model to start from.

    Raises:
        OptionError: it is of another scale.
    """
    index = read_index(config.model)
    if index.scale != "sd15":
        raise OptionError(
            f"model: {config.model} is a {index.scale} model; kind: sd15 trains sd15 models, "
            "kind: generator the mini model"
        )
    return index


def load_base(config: Sd15Config) -> Base:
    """The frozen base."""
    unet = load_network(UNet2DConditionModel, config.model / "unet").requires_grad_(False)
    vae = load_network(AutoencoderKL, config.model / "vae").requires_grad_(False)
    return Base(unet, vae, load_scheduler(config.model / "scheduler"))


def load_regions(config: Sd15Config) -> RegionEncoder:
    """phi^Reg; without a folder of their own the branches start fresh."""
    ford = config.model / "ford"
    clip: Any = load_clip(ford / "clip")
    if (ford / "region_adapter").is_dir():
        adapter = load_network(RegionAdapter, ford / "region_adapter")
    else:
        adapter = RegionAdapter(in_channels=int(clip.config.hidden_size))
    return RegionEncoder(clip, adapter)


def load_steering(
    config: Sd15Config,
    base: Base,
    shapes: Mapping[str, tuple[int, int]],
    crop_size: int,
) -> tuple[FaceXController, Conditioner, bool]:
    """Controller and conditioner from the model folder, or fresh ones that fit the base.

    Args:
        config: the run.
        base: the frozen base.
        shapes: tokens and width of all inputs.
        crop_size: side of the crops, from which the number of reference tokens follows.

    Returns:
        Both, and whether the conditioner is fresh, so that it needs statistics.
    """
    channels, folder = base.latent_channels, config.model
    if (folder / "controller").is_dir():
        controller = load_network(FaceXController, folder / "controller")
    else:
        controller = FaceXController.for_unet(
            base.unet,
            latent_channels=channels,
            frc_width=config.frc_width,
            head_width=_head_width(base.unet, config),
            spatial_widths=[config.spatial_width] * len(base.unet.config.down_block_types),
            anchor_init="zero",
        )
    if (folder / "conditioner").is_dir():
        return controller, load_network(Conditioner, folder / "conditioner"), False
    cells = crop_size // base.downscale // config.reference_fold
    conditioner = Conditioner(
        # In the order of the names, as a saved config gives them back.
        {name: shapes[name] for name in sorted(shapes)},
        context_dim=base.context_dim,
        width=config.tokens_width,
        reference_channels=channels,
        reference_tokens=((cells + 1) // 2) ** 2,
        fold=config.reference_fold,
    )
    return controller, conditioner, True


def _head_width(unet: Any, config: Sd15Config) -> int:
    """40, as Stable Diffusion's narrowest heads have, or what divides narrower blocks."""
    narrowest = config.frc_width or min(unet.config.block_out_channels) // 2
    return math.gcd(narrowest, 40)


def region_width(regions: RegionEncoder) -> int:
    """Dr of the region tokens."""
    return int(regions.adapter.config["out_channels"])


def trained_index(config: Sd15Config, index: ModelIndex, out: Path) -> ModelIndex:
    """The index of the model that the run makes."""
    return index.model_copy(update={"name": out.name, "licence": config.licence})


def save_memory(model: Sd15Model) -> None:
    """Keep only the inputs of the UNet's and CLIP's blocks; the rest is computed twice."""
    model.unet.enable_gradient_checkpointing()
    clip: Any = model.regions.clip
    if any(p.requires_grad for p in clip.parameters()):
        # transformers renamed it in release 5
        enable = getattr(clip, "activation_checkpointing_enable", None)
        (enable or clip.gradient_checkpointing_enable)({"use_reentrant": False})


def to_half(model: Sd15Model, dtype: torch.dtype) -> None:
    """Store what is never changed in the format of the sums."""
    model.unet.to(dtype)
