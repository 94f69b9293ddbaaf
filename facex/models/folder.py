# SPDX-License-Identifier: Apache-2.0
"""Read and write a model folder: an index, and a folder per part in diffusers' layout."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from pydantic import BaseModel, ConfigDict, ValidationError

from facex.detect.net import DetectorNet
from facex.errors import ModelNotFound, OutputError, WeightsCorrupt
from facex.ford.decompose import FORD
from facex.ford.motion import MotionNet
from facex.fors.conditioner import Conditioner
from facex.frc.base import Base
from facex.frc.controller import FaceXController
from facex.frc.harmonizer import Harmonizer
from facex.frc.pipeline import FaceXPipeline
from facex.models.hub import BUNDLED
from facex.models.klt import KLTAutoencoder
from facex.models.mini_ford import load_mini_ford, load_network
from facex.models.styles import STYLES

INDEX_NAME = "facex_index.json"
HARMONIZER, INPAINTER = "harmonizer", "inpainter"
FORMAT_VERSION = 1


class ModelIndex(BaseModel):
    """``facex_index.json``: what a model folder holds.

    Attributes:
        format_version: of the layout.
        name: of the model.
        scale: ``mini`` or ``sd15``.
        crop_size: side of the crops in pixels.
        steps: default number of sampling steps.
        licence: of the weights, in one line.
    """

    model_config = ConfigDict(extra="forbid")

    format_version: Literal[1] = 1
    name: str
    scale: Literal["mini", "sd15"]
    crop_size: int
    steps: int = 6
    licence: str


@dataclass
class LoadedModel:
    """All parts of a model, in memory.

    Attributes:
        index: what the folder says of itself.
        base: UNet, autoencoder and scheduler.
        controller: FRC, spatial path and anchor.
        conditioner: FORS' networks.
        ford: the extractors.
        landmarks: the network that finds the 478 points.
        folder: where it came from.
        detector: finds faces; the bundled one if the folder has none.
        harmonizer: the last look at an edit, if the folder has one.
        inpainter: the last look at a hole, if the folder has one.
    """

    index: ModelIndex
    base: Base
    controller: FaceXController
    conditioner: Conditioner
    ford: FORD
    landmarks: MotionNet
    folder: Path
    detector: DetectorNet
    harmonizer: Harmonizer | None = None
    inpainter: Harmonizer | None = None

    def pipeline(self) -> FaceXPipeline:
        """What draws edits with these parts."""
        return FaceXPipeline(
            self.base,
            self.controller,
            self.conditioner,
            harmonizer=self.harmonizer,
            inpainter=self.inpainter,
        )


def read_index(folder: Path) -> ModelIndex:
    """Read and check the index.

    Raises:
        ModelNotFound: the folder holds no FaceX model.
        WeightsCorrupt: its index is damaged or newer than this program.
    """
    path = folder / INDEX_NAME
    if not path.is_file():
        raise ModelNotFound(f"{folder} is no FaceX model: it has no {INDEX_NAME}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsCorrupt(f"{path} cannot be read ({error}); get this model again") from error
    version = data.get("format_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise WeightsCorrupt(f"{path} has format {version}, newer than this facex; update facex")
    try:
        return ModelIndex.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the index"
        raise WeightsCorrupt(f"{path}: {where}: {first['msg']}") from error


def load_model(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    *,
    loaded: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """Load every part of a model folder.

    Args:
        folder: with an index.
        device: of all networks.
        dtype: of UNet, controller and conditioner.
        loaded: parts that are in memory already, by the names of their folders: ``unet``,
            ``vae``, ``scheduler``, ``controller``, ``conditioner``.

    Raises:
        ModelNotFound: a part is missing.
        WeightsCorrupt: a part is damaged.
    """
    index, loaded = read_index(folder), loaded or {}

    def part(kind: type[Any], name: str) -> Any:
        return loaded[name] if name in loaded else load_network(kind, folder / name)

    unet = part(UNet2DConditionModel, "unet")
    vae = part(KLTAutoencoder if index.scale == "mini" else AutoencoderKL, "vae")
    scheduler = loaded.get("scheduler") or load_scheduler(folder / "scheduler")
    # torch's own cast: that of diffusers warns of modules to be kept, even where there are none.
    cast = torch.nn.Module.to
    base = Base(cast(unet, device, dtype), vae.to(device), scheduler)
    controller = cast(part(FaceXController, "controller"), device, dtype)
    conditioner = cast(part(Conditioner, "conditioner"), device, dtype)
    landmarks = load_network(MotionNet, folder / "ford" / "motion").to(device)
    detector = load_detector(folder, device)
    ford = load_ford(index, folder / "ford").to(device)
    last = [
        load_network(Harmonizer, folder / name).to(device) if (folder / name).is_dir() else None
        for name in (HARMONIZER, INPAINTER)
    ]
    for network in (unet, vae, controller, conditioner, landmarks, *last):
        if network is not None:
            network.requires_grad_(False)
    ours = base, controller, conditioner
    return LoadedModel(index, *ours, ford, landmarks, folder, detector, *last)


def load_scheduler(folder: Path) -> Any:
    """The scheduler that a folder names, from diffusers."""
    import diffusers

    path = folder / "scheduler_config.json"
    try:
        name = json.loads(path.read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelNotFound(f"the model has no readable scheduler at {path}") from error
    kind = getattr(diffusers, str(name), None)
    if kind is None or not str(name).endswith("Scheduler"):
        raise WeightsCorrupt(f"{path}: diffusers has no scheduler {name!r}")
    return kind.from_pretrained(folder, local_files_only=True)


def load_ford(index: ModelIndex, folder: Path) -> FORD:
    """The extractors of a model folder's ``ford``.

    Raises:
        ModelNotFound: a part is missing.
        WeightsCorrupt: a part is damaged.
    """
    if index.scale == "mini":
        return load_mini_ford(folder)
    from facex.models.sd15_ford import load_sd15_ford

    return load_sd15_ford(folder)


def load_detector(folder: Path, device: torch.device) -> DetectorNet:
    """The detector of a model folder; the bundled one if it has none.

    Raises:
        WeightsCorrupt: it is damaged.
    """
    own = folder / "ford" / "detector"
    place = own if own.is_dir() else BUNDLED / "ford" / "detector"
    return load_network(DetectorNet, place).to(device)


def save_model(model: LoadedModel, folder: Path, *, half: bool = False) -> None:
    """Write a model folder in one piece.

    Args:
        model: the parts; FORD's weights are copied from the folder they came from.
        folder: must not exist yet, or be a FaceX model that is replaced.
        half: store float16.

    Raises:
        OutputError: the folder is something else, or cannot be written.
    """
    if folder.exists() and not (folder / INDEX_NAME).is_file() and any(folder.iterdir()):
        raise OutputError(f"{folder} exists and is no FaceX model; choose another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".facex-") as scratch:
            fresh = Path(scratch) / "model"
            _write_parts(model, fresh, half=half)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(fresh, folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error


def _write_parts(model: LoadedModel, fresh: Path, *, half: bool) -> None:
    parts = {
        "unet": model.base.unet,
        "vae": model.base.vae,
        "controller": model.controller,
        "conditioner": model.conditioner,
    }
    for name, part in parts.items():
        dtype = next(part.parameters()).dtype
        stored = part.half() if half else part
        stored.save_pretrained(fresh / name)
        part.to(dtype)
    model.base.scheduler.save_pretrained(fresh / "scheduler")
    shutil.copytree(model.folder / "ford", fresh / "ford")
    for name in (STYLES, HARMONIZER):
        if (model.folder / name).is_dir():
            shutil.copytree(model.folder / name, fresh / name)
    text = model.index.model_dump_json(indent=2) + "\n"
    (fresh / INDEX_NAME).write_text(text, encoding="utf-8")
