# SPDX-License-Identifier: Apache-2.0
"""The model folder of a checkpoint: averaged weights over the parts that the run started from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import save_file
from torch import Tensor, nn

from facex.ford.sd15.clip_regions import CLIP_WEIGHTS_NAME
from facex.models.folder import INDEX_NAME, ModelIndex
from facex.train.sd15.model import Sd15Model
from facex.train.sd15.state import link_tree, whole

_FROZEN: Final = ("unet", "vae", "scheduler")
_FORD_TRAINED: Final = ("clip", "region_adapter")


def complete(part: nn.Module, prefix: str, averages: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State of a part with the averages in place of what is trained.

    Args:
        part: the module; every process must take part.
        prefix: its name in the model, with a dot.
        averages: by the names in the model, whole.
    """
    found = {name: averages.get(prefix + name) for name in part.state_dict()}
    return {
        name: whole(part.state_dict()[name]) if value is None else value
        for name, value in found.items()
    }


def trained_parts(
    model: Sd15Model, averages: Mapping[str, Tensor]
) -> dict[str, tuple[Any, dict[str, Tensor]]]:
    """The parts that are written anew: folder, network for its config, tensors."""
    parts: dict[str, tuple[Any, str]] = {
        "controller": (model.controller, "controller."),
        "conditioner": (model.conditioner, "conditioner."),
        "ford/region_adapter": (model.regions.adapter, "regions.adapter."),
        "ford/clip": (model.regions.clip, "regions.clip."),
    }
    return {
        folder: (part, complete(part, prefix, averages)) for folder, (part, prefix) in parts.items()
    }


def write_model(
    source: Path,
    folder: Path,
    index: ModelIndex,
    parts: Mapping[str, tuple[Any, dict[str, Tensor]]],
) -> None:
    """Write a complete model folder.

    Args:
        source: the model that the run started from; its frozen parts are linked, not copied.
        folder: to be made.
        index: of the new model.
        parts: from `trained_parts`.
    """
    folder.mkdir(parents=True)
    for name in _FROZEN:
        link_tree(source / name, folder / name)
    for path in sorted((source / "ford").iterdir()):
        if path.is_dir() and path.name not in _FORD_TRAINED:
            link_tree(path, folder / "ford" / path.name)
    for name, (part, tensors) in parts.items():
        place = folder / name
        place.mkdir(parents=True)
        weights = SAFETENSORS_WEIGHTS_NAME
        if name == "ford/clip":
            part.config.save_pretrained(place)
            weights = CLIP_WEIGHTS_NAME
        else:
            part.save_config(place)
        save_file(tensors, place / weights, metadata={"format": "pt"})
    text = index.model_dump_json(indent=2) + "\n"
    (folder / INDEX_NAME).write_text(text, encoding="utf-8")
