# SPDX-License-Identifier: Apache-2.0
"""Personalised bases: a model folder's ``styles``, each another base for the same control.

A style is a folder in diffusers' layout: whole parts (``unet``, ``vae``), or a low-rank difference
to the model's own (``pytorch_lora_weights.safetensors``; Hu et al. 2021). FORS and FRC stay as they
are: they steer any fine-tune of their base (DESIGN 6).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from facex.errors import ModelNotFound, WeightsCorrupt
from facex.frc.base import Base
from facex.frc.pipeline import FaceXPipeline
from facex.models.mini_ford import load_network
from facex.recipes.values import nearest_name

STYLES: Final = "styles"
LOW_RANK_FILE: Final = "pytorch_lora_weights.safetensors"
INDEX_NAME: Final = "style.json"
PARTS: Final = ("unet", "vae")
_DOWN, _UP, _SHIFT, _ALPHA = ".lora_A.weight", ".lora_B.weight", ".lora_B.bias", ".alpha"


class StyleIndex(BaseModel):
    """``style.json``: how a style wants to be used; a folder without one gets the defaults.

    Attributes:
        format_version: of the layout.
        strength: 0 to 1, how much noise an edit starts from unless somebody says otherwise.
    """

    model_config = ConfigDict(extra="forbid")

    format_version: Literal[1] = 1
    strength: float = Field(default=1.0, ge=0, le=1)


def style_index(folder: Path, name: str) -> StyleIndex:
    """How a style of a model folder wants to be used.

    Raises:
        WeightsCorrupt: its ``style.json`` is damaged or newer than this program.
    """
    path = folder / STYLES / name / INDEX_NAME
    if not path.is_file():
        return StyleIndex()
    try:
        return StyleIndex.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise WeightsCorrupt(f"{path} cannot be used; get this style again") from error


def style_names(folder: Path) -> tuple[str, ...]:
    """Names of the styles in a model folder, sorted."""
    places = (folder / STYLES).glob("*/")
    return tuple(sorted(place.name for place in places if _holds_style(place)))


def load_style(base: Base, folder: Path, name: str) -> Base:
    """The base as a style has it; what the style does not change is shared.

    Args:
        base: the model's own.
        folder: the model folder.
        name: of the style.

    Raises:
        ModelNotFound: the model has no such style; the message names those it has.
        WeightsCorrupt: a file is damaged or made for another base.
    """
    known = style_names(folder)
    if name not in known:
        nearest = nearest_name(name, list(known))
        hint = f"; did you mean {nearest!r}?" if nearest else ""
        there = f"it has {', '.join(known)}" if known else "it has none"
        raise ModelNotFound(f"this model has no style {name!r}{hint} ({there})")
    place = folder / STYLES / name
    parts: dict[str, Any] = {}
    for part in PARTS:
        own = getattr(base, part)
        if (place / part).is_dir():
            parts[part] = load_network(type(own), place / part).to(own.device, own.dtype)
    path = place / LOW_RANK_FILE
    if path.is_file():
        try:
            tensors = load_file(path)
            for part in PARTS:
                if any(key.startswith(f"{part}.") for key in tensors):
                    parts[part] = personalised(getattr(base, part), tensors, part)
        except (SafetensorError, OSError, ValueError) as error:
            raise WeightsCorrupt(f"{path} cannot be used ({error}); get it again") from error
    return replace(base, **{k: v.requires_grad_(False).eval() for k, v in parts.items()})


def personalised(network: Any, low_rank: Mapping[str, Tensor], part: str) -> Any:
    """A copy of a network with a low-rank difference added to its weights.

    Args:
        network: stays as it is.
        low_rank: ``PART.MODULE.lora_A.weight`` (r, in, ...) and ``PART.MODULE.lora_B.weight``
            (out, r, ...); ``.lora_B.bias`` (out,) is added to the bias, ``PART.MODULE.alpha``
            scales the product by alpha / r.
        part: ``unet`` or ``vae``; what belongs to another part is passed over.

    Raises:
        ValueError: names or shapes that this network does not have.
    """
    fresh = copy.deepcopy(network)
    modules = dict(fresh.named_modules())
    keys = [key.removesuffix(_DOWN) for key in low_rank if key.endswith(_DOWN)]
    for key in (key for key in keys if key.startswith(f"{part}.")):
        module, up = modules.get(key.removeprefix(f"{part}.")), low_rank.get(key + _UP)
        if up is None or not isinstance(module, nn.Linear | nn.Conv2d):
            raise ValueError(f"{key} does not belong to this model's base")
        down, alpha = low_rank[key + _DOWN], low_rank.get(key + _ALPHA)
        scale = 1.0 if alpha is None else float(alpha) / len(down)
        change = product(down.float(), up.float())
        if change.shape != module.weight.shape:
            raise ValueError(f"{key} does not belong to this model's base")
        with torch.no_grad():
            module.weight += (scale * change).to(module.weight)
            if key + _SHIFT in low_rank and module.bias is not None:
                module.bias += low_rank[key + _SHIFT].to(module.bias)
    return fresh


def product(down: Tensor, up: Tensor) -> Tensor:
    """The change of a weight: (r, in, ...) and (out, r, ...) -> (out, in, ...)."""
    rank = len(down)
    return (up.reshape(len(up), rank) @ down.reshape(rank, -1)).reshape(len(up), *down.shape[1:])


def _holds_style(place: Path) -> bool:
    return (place / LOW_RANK_FILE).is_file() or any((place / part).is_dir() for part in PARTS)


class StyledPipelines:
    """The generator with one personalised base or another; what was used stays in memory.

    Args:
        pipeline: with the model's own base.
        folder: of the model.
    """

    def __init__(self, pipeline: FaceXPipeline, folder: Path) -> None:
        self.pipeline, self.folder = pipeline, folder
        self._loaded: dict[str, FaceXPipeline] = {}

    def __call__(self, style: str) -> FaceXPipeline:
        """The pipeline of a style.

        Raises:
            ModelNotFound: the model has no such style; the message names those it has.
            WeightsCorrupt: its file is damaged.
        """
        if style not in self._loaded:
            base = load_style(self.pipeline.base, self.folder, style)
            parts = (self.pipeline.controller, self.pipeline.conditioner)
            strength = style_index(self.folder, style).strength
            self._loaded[style] = FaceXPipeline(base, *parts, strength)
        return self._loaded[style]
