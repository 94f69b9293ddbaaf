# SPDX-License-Identifier: Apache-2.0
"""The mini model's FORD from the ``ford`` folder of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from facex.errors import ModelNotFound, WeightsCorrupt
from facex.ford.decompose import FORD
from facex.ford.gaze import GazeExtractor, GazeNet
from facex.ford.identity import IdentityExtractor, IdentityNet
from facex.ford.light import LightTextureExtractor
from facex.ford.mesh import MeshExtractor
from facex.ford.motion import MotionExtractor, MotionNet
from facex.ford.parsing import ParsingNet
from facex.ford.refine import LandmarkRefiner
from facex.ford.regions import ParsingRegionExtractor
from facex.geometry.albedo import AlbedoModel
from facex.geometry.shape_model import ShapeModel
from facex.models.int8 import WEIGHTS_INT8, load_int8

MINI_FORD = "facex-mini-2"
"""Name of this set of extractors, kept in every representation."""


def load_network(kind: type[Any], folder: Path) -> Any:
    """Load one network in diffusers' layout, in float32 and ready for use.

    Raises:
        ModelNotFound: the folder is missing.
        WeightsCorrupt: its files are damaged or of another layout.
    """
    if not (folder / "config.json").is_file():
        raise ModelNotFound(
            f"the model folder has no {folder.name!r} at {folder}; give a complete model folder "
            "with --model, or reinstall facex"
        )
    try:
        if (folder / WEIGHTS_INT8).is_file():
            net = load_int8(kind, folder)
        else:
            net = kind.from_pretrained(folder, local_files_only=True, torch_dtype=torch.float32)
        # Convolutions of small batches on a CPU take four fifths of the time then.
        return net.eval().to(memory_format=torch.channels_last)
    except FileNotFoundError as error:
        raise ModelNotFound(f"{folder} has no weights: {error}") from error
    except Exception as error:
        raise WeightsCorrupt(
            f"the weights in {folder} cannot be read ({type(error).__name__}); get this model again"
        ) from error


def load_mini_ford(folder: Path) -> FORD:
    """Build the extractors of ``folder`` (``motion``, ``gaze``, ``identity``, ``parsing``, ...)."""
    model = ShapeModel.from_folder(folder / "shape_model")
    # Older model folders have no second look at eyes and mouth, and no dense albedo.
    second = folder / "refine"
    refiner = load_network(LandmarkRefiner, second) if second.is_dir() else None
    dense = folder / "albedo"
    albedo = AlbedoModel.from_folder(dense) if dense.is_dir() else None
    return FORD(
        [
            MotionExtractor(load_network(MotionNet, folder / "motion"), refiner),
            MeshExtractor(model),
            GazeExtractor(load_network(GazeNet, folder / "gaze")),
            IdentityExtractor(load_network(IdentityNet, folder / "identity")),
            ParsingRegionExtractor(load_network(ParsingNet, folder / "parsing")),
            LightTextureExtractor(model, albedo),
        ],
        name=MINI_FORD,
    )
