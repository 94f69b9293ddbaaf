# SPDX-License-Identifier: Apache-2.0
"""The graphs that a mini model falls into, each a module with named inputs and outputs.

A graph does what one call of the library does: cutting out of patches and alignment are inside, so
that a program that chains graphs needs tensors and a few lines of arithmetic and no second copy of
the geometry. The mesh fit, the assembler of the reference and the drawing of position maps are no
networks and stay outside (docs/export.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facex.errors import OptionError
from facex.export.graphs import (
    ConditionerGraph,
    DecoderGraph,
    DetectorGraph,
    EncoderGraph,
    GazeGraph,
    IdentityGraph,
    LastLookGraph,
    MotionGraph,
    ParsingGraph,
    SpatialGraph,
    StepGraph,
    extractor_of,
    plain_factors,
)
from facex.fors.representation_assembler import REGION_PREFIX
from facex.models.folder import HARMONIZER, INPAINTER, LoadedModel
from facex.types import REGIONS

Random = torch.Generator


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: in the graph.
        about: meaning, unit and range of the values, for people.
    """

    name: str
    about: str


@dataclass(frozen=True)
class Stage:
    """One graph.

    Attributes:
        name: of the graph and its file.
        about: what it does.
        module: takes the inputs in their order and returns a tuple of the outputs.
        inputs: in order.
        outputs: in order.
        example: random but plausible inputs for a batch size, on the CPU, float32 unless said.
        free: input axes besides the batch that may have any size: ``{input: {axis: name}}``.
        multiple: what such a size must be a multiple of.
    """

    name: str
    about: str
    module: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    example: Callable[[int, Random], tuple[Tensor, ...]]
    free: Mapping[str, Mapping[int, str]] = field(default_factory=lambda: MappingProxyType({}))
    multiple: int = 1


_IMAGES: Final = Port("images", "aligned crop, RGB in [-1, 1]")
_LANDMARKS: Final = Port("landmarks", "478 points x, y, z in pixels of the crop")
_REFERENCE: Final = Port("reference", "latents of the reference image")
_KNOWN: Final = Port("known", "which pixels of the reference carry content, [0, 1]")
_EDIT: Final = Port("edit", "which pixels of the result may change, [0, 1]")
_LATENTS: Final = Port("latents", "about unit variance")

LAST_LOOKS: Final = MappingProxyType(
    {
        HARMONIZER: "the last look at an edit: what makes it one picture",
        INPAINTER: "the last look at a hole in a photo: what makes it one picture",
    }
)
"""Stages that a model may have or not."""
STAGES: Final = (
    "detector", "motion", "gaze", "identity", "parsing",
    "encoder", "decoder", "conditioner", "spatial", "step", *LAST_LOOKS,
)  # fmt: skip
"""Names of all stages, in the order in which an edit needs them."""


def build_stages(model: LoadedModel, only: tuple[str, ...] = ()) -> list[Stage]:
    """The graphs of a model, on the CPU in float32.

    Args:
        model: a mini model.
        only: names; empty takes all.

    Raises:
        OptionError: a name is unknown or not of this model, or it is no mini model.
    """
    if model.index.scale != "mini":
        raise OptionError(
            f"only mini models can be exported, {model.folder} is {model.index.scale}; "
            "for Stable Diffusion use the exporters of its own ecosystem"
        )
    unknown = [name for name in only if name not in STAGES]
    if unknown:
        raise OptionError(f"there is no stage {unknown[0]!r}; there are {', '.join(STAGES)}")
    missing = [name for name in LAST_LOOKS if getattr(model, name) is None]
    if wanted := [name for name in missing if name in only]:
        raise OptionError(f"{model.folder} has no {wanted[0]}; leave that stage out")
    there = [name for name in STAGES if name not in missing]
    return [_MAKERS[name](model) for name in there if not only or name in only]


def presence_names(model: LoadedModel) -> list[str]:
    """What the columns of the conditioner's input ``present`` stand for."""
    return [*plain_factors(model), *(f"{REGION_PREFIX}{region}" for region in REGIONS)]


def _images(model: LoadedModel, batch: int, random: Random) -> Tensor:
    """Smooth random pictures; noise alone is far from anything that the networks have seen."""
    side = model.index.crop_size
    coarse = torch.rand(batch, 3, 12, 12, generator=random) * 2 - 1
    return F.interpolate(coarse, (side, side), mode="bicubic").clamp(-1, 1)


def _landmarks(model: LoadedModel, batch: int, random: Random) -> Tensor:
    """The mean face, moved and turned a little."""
    shape = extractor_of(model, "light").model.mean.float()
    points = shape - shape.mean(0)
    side = model.index.crop_size
    points = points / points[:, :2].abs().max() * (side * 0.3)
    if points[10, 1] > points[152, 1]:  # forehead above chin: y points down in pictures
        points = points * torch.tensor([1.0, -1.0, -1.0])
    moved = points.expand(batch, -1, -1) + torch.randn(batch, 478, 3, generator=random) * 0.5
    shift = torch.randn(batch, 1, 3, generator=random) * 4 * torch.tensor([1.0, 1.0, 0.0])
    return moved + shift + torch.tensor([side / 2, side / 2, 0.0])


def _masks(model: LoadedModel, batch: int, random: Random) -> Tensor:
    side = model.index.crop_size
    coarse = torch.rand(batch, 1, 8, 8, generator=random)
    return (F.interpolate(coarse, (side, side), mode="bilinear") > 0.4).float()


def _cells(model: LoadedModel) -> int:
    return model.index.crop_size // model.base.downscale


def _random_latents(model: LoadedModel, batch: int, random: Random) -> Tensor:
    side = _cells(model)
    return torch.randn(batch, model.base.latent_channels, side, side, generator=random)


def _detector(model: LoadedModel) -> Stage:
    def example(batch: int, random: Random) -> tuple[Tensor, ...]:
        return (F.interpolate(_images(model, batch, random), (192, 256), mode="bilinear"),)

    about = "score, centre, log side, roll and five points of every cell; see facex.detect.net"
    return Stage(
        "detector", "finds faces in a whole photo", DetectorGraph(model),
        (Port("images", "photo, RGB in [-1, 1], sides multiples of 32"),),
        tuple(Port(f"cells{stride}", f"{about} (cells of {stride} px)") for stride in (8, 16, 32)),
        example, {"images": {2: "height", 3: "width"}}, 32,
    )  # fmt: skip


def _motion(model: LoadedModel) -> Stage:
    return Stage(
        "motion", "landmarks, eyes and mouth looked at twice, and expression", MotionGraph(model),
        (_IMAGES,), (_LANDMARKS, Port("expression", "52 blendshapes in [0, 1]")),
        lambda batch, random: (_images(model, batch, random),),
    )  # fmt: skip


def _gaze(model: LoadedModel) -> Stage:
    return Stage(
        "gaze", "where each eye looks", GazeGraph(model), (_IMAGES, _LANDMARKS),
        (Port("gaze", "right and left eye, pitch and yaw, radians in the camera frame"),),
        lambda batch, random: (_images(model, batch, random), _landmarks(model, batch, random)),
    )  # fmt: skip


def _identity(model: LoadedModel) -> Stage:
    return Stage(
        "identity", "who it is", IdentityGraph(model), (_IMAGES, _LANDMARKS),
        (Port("identity_tokens", "for the conditioner"), Port("identity", "unit vector")),
        lambda batch, random: (_images(model, batch, random), _landmarks(model, batch, random)),
    )  # fmt: skip


def _parsing(model: LoadedModel) -> Stage:
    levels = extractor_of(model, "parsing").levels
    return Stage(
        "parsing", "what every pixel shows, and the maps that are pooled by region",
        ParsingGraph(model), (_IMAGES,),
        (Port("logits", "of the 19 CelebAMask-HQ classes; facex.ford.outlines mends their argmax"),
         *(Port(f"map{level}", "decoder map for region features") for level in levels)),
        lambda batch, random: (_images(model, batch, random),),
    )  # fmt: skip


def _encoder(model: LoadedModel) -> Stage:
    return Stage(
        "encoder", "picture to latents", EncoderGraph(model), (_IMAGES,), (_LATENTS,),
        lambda batch, random: (_images(model, batch, random),),
    )  # fmt: skip


def _decoder(model: LoadedModel) -> Stage:
    return Stage(
        "decoder", "latents to picture", DecoderGraph(model), (_LATENTS,),
        (Port("images", "RGB, about [-1, 1], not clamped"),),
        lambda batch, random: (_random_latents(model, batch, random),),
    )  # fmt: skip


def _conditioner(model: LoadedModel) -> Stage:
    layout, factors = model.conditioner.representation.layout, plain_factors(model)
    width = layout[f"{REGION_PREFIX}{REGIONS[0]}"][1]

    def example(batch: int, random: Random) -> tuple[Tensor, ...]:
        def draw(*shape: int) -> Tensor:
            return torch.randn(batch, *shape, generator=random)

        present = torch.rand(batch, len(factors) + len(REGIONS), generator=random) > 0.3
        return (
            *(draw(*layout[name]) for name in factors),
            draw(len(REGIONS), width),
            present,
            _random_latents(model, batch, random),
            _masks(model, batch, random),
            _masks(model, batch, random),
        )

    return Stage(
        "conditioner", "factors and reference to the tokens that steer", ConditionerGraph(model),
        (*(Port(name, "as facex.ford.representation.factor_inputs") for name in factors),
         Port("regions", "features of the 13 regions, in the order of facex.types.REGIONS"),
         Port("present", "bool; columns as `present` in the manifest; false: a learned null token"),
         _REFERENCE, _KNOWN, _EDIT),
        (Port("context", "tokens f_SD for every step"),), example,
    )  # fmt: skip


def _feature_ports(model: LoadedModel) -> tuple[Port, ...]:
    count = len(model.controller.config["stage_channels"])
    names = ["entry", "trunk", *(f"stage{i}" for i in range(count))]
    return tuple(Port(name, "features of the spatial path") for name in names)


def _spatial(model: LoadedModel) -> Stage:
    return Stage(
        "spatial", "the reference for every resolution of the generator, once per edit",
        SpatialGraph(model),
        (_REFERENCE, _KNOWN, _EDIT,
         Port("geometry", "canonical x, y, z of the result's surface, [-1, 1], 0 where none")),
        _feature_ports(model),
        lambda batch, random: (
            _random_latents(model, batch, random), _masks(model, batch, random),
            _masks(model, batch, random), _images(model, batch, random),
        ),
    )  # fmt: skip


def _step(model: LoadedModel) -> Stage:
    conditioner, spatial = ConditionerGraph(model), SpatialGraph(model)

    @torch.no_grad()
    def example(batch: int, random: Random) -> tuple[Tensor, ...]:
        values = _conditioner(model).example(batch, random)
        *_, reference, known, edit = values
        (context,) = conditioner(*values)
        features = spatial(reference, known, edit, _images(model, batch, random))
        t = torch.randint(1, 1000, (batch,), generator=random)
        return (_random_latents(model, batch, random), t, context, reference, known, *features)

    return Stage(
        "step", "one evaluation of the generator: its clean latents", StepGraph(model),
        (_LATENTS, Port("t", "timestep, int64, 0 to 999"), Port("context", "from conditioner"),
         _REFERENCE, _KNOWN, *_feature_ports(model)),
        (Port("clean", "latents without noise"), Port("kappa", "trust in the reference, [0, 1]")),
        example,
    )  # fmt: skip


def _last_look(model: LoadedModel, name: str) -> Stage:
    def example(batch: int, random: Random) -> tuple[Tensor, ...]:
        masks = (_masks(model, batch, random), _masks(model, batch, random))
        return (_images(model, batch, random), *masks, _images(model, batch, random))

    return Stage(
        name, LAST_LOOKS[name], LastLookGraph(getattr(model, name)),
        (Port("composite", "the edit in its surroundings, RGB in [-1, 1]"), _KNOWN, _EDIT,
         Port("geometry", "as for spatial")),
        (Port("change", "to be added; 0 outside of the edit"),), example,
    )  # fmt: skip


_MAKERS: Final[dict[str, Callable[[LoadedModel], Stage]]] = {
    "detector": _detector, "motion": _motion, "gaze": _gaze, "identity": _identity,
    "parsing": _parsing, "encoder": _encoder, "decoder": _decoder,
    "conditioner": _conditioner, "spatial": _spatial, "step": _step,
    **{name: partial(_last_look, name=name) for name in LAST_LOOKS},
}  # fmt: skip
