# SPDX-License-Identifier: Apache-2.0
"""One face of a step made ready for the generator: mesh, tokens, and the reference image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facex.errors import OptionError
from facex.ford.decompose import FORD
from facex.fors.motion import (
    changes_of_expression,
    geometry_of,
    look_of,
    placed_eyes,
    result_geometry,
    token_inputs,
)
from facex.fors.place import place_picture
from facex.fors.portrait import portraits
from facex.fors.reference_image import ReferenceImage
from facex.fors.region_assembler import RegionAssembler
from facex.fors.resolution import follow, higher_resolution
from facex.framing import Framing, framing_of
from facex.frc.condition import EditCondition
from facex.geometry.overturn import overturned
from facex.imaging.read import Photo
from facex.imaging.warp import crop_image
from facex.locate import LocatedFace
from facex.recipes.plan import Plan
from facex.recipes.values import TARGET

Floats = NDArray[np.float32]

MAX_NATIVE: Final = 2048
"""Largest side at which a reference is painted; larger faces are enlarged from it."""
_LEAST_NATIVE: Final = 256
"""Smallest side at which other pictures are cut out for it."""


@dataclass(frozen=True)
class PreparedFace:
    """What the generator and the paste back need of a face.

    Attributes:
        face: the target.
        condition: what steers the generator.
        reference: of the crop's own size.
        framing: how much of the photo ``whole`` and ``native`` show.
        whole: the reference with the room around the crop.
        native: the same at the photo's resolution.
        eyes: ``(1, 1, S, S)`` in [0, 1]: eyes that the edit turns, opens or shuts: they stay as
            placed.
        head: hair is edited too, so ground may be left.
    """

    face: LocatedFace
    condition: EditCondition
    reference: ReferenceImage
    framing: Framing
    whole: ReferenceImage
    native: ReferenceImage
    eyes: Tensor
    head: bool


def prepare_face(
    target: LocatedFace,
    others: Mapping[str, LocatedFace],
    things: Mapping[str, Photo],
    plan: Plan,
    mask: Floats | None,
    ford: FORD,
    largest: int | None = None,
) -> PreparedFace:
    """Assemble what a step starts from.

    Args:
        target: the face that is edited.
        others: decomposed pictures by name.
        things: pictures that are no faces, by name.
        plan: the resolved step.
        mask: ``(H, W)`` in [0, 1] over the photo when the plan edits by mask.
        ford: reads where placed eyes look, parses, and knows the albedo that its codes stand for.
        largest: native side of a crop at most; None: the photo's own.

    Raises:
        OptionError: a mask is missing or covers nothing of the face.
    """
    located = {**others, TARGET: target}
    reps = {name: face.representation for name, face in located.items()}
    size = target.representation.crop_size
    shapes = {name: geometry_of(rep) for name, rep in reps.items()}
    result = result_geometry(plan.motion, shapes)
    inputs, present = token_inputs(plan, reps, result)
    if plan.motion.shape != TARGET and not plan.motion.turns_head:
        result = overturned(result, shapes[plan.motion.shape].rotation)
    framing, parser = framing_of(plan), ford.provider("parsing")
    pictures = {
        name: framing.picture(face, parser, goes=name == TARGET) for name, face in located.items()
    }
    points = result.landmarks[0].double().numpy()
    place = points + np.array([1, 1, 0]) * framing.margin(size)
    assembler = RegionAssembler(
        pictures,
        plan,
        place,
        _mask_in_crop(mask, target, size) if plan.by_mask else None,
        look_of(result, ford.provider("gaze")),
        portraits(plan, reps, ford),
        changes_of_expression(result, shapes),
    )
    native = whole = assembler.assemble()
    reference = framing.middle(whole, size)
    native_size = min(max(target.native_size, size), largest or MAX_NATIVE, MAX_NATIVE)
    if native_size > size:
        side = min(framing.side(native_size), MAX_NATIVE)
        native = _native(assembler, located, plan, place, mask, framing, side)
    if plan.place is not None:
        thing = things[plan.place.picture]
        reference = place_picture(reference, thing, plan.place.kind, result, size)
        native = place_picture(native, thing, plan.place.kind, result, size)
    condition = EditCondition(
        inputs=inputs,
        present=present,
        reference=torch.from_numpy(reference.image.transpose(2, 0, 1))[None] * 2 - 1,
        known=torch.from_numpy(reference.known)[None, None],
        edit=torch.from_numpy(reference.edit)[None, None],
        geometry=torch.from_numpy(reference.geometry)[None],
        target=target.crop,
    )
    before = target.representation.landmarks[0].double().numpy()
    eyes = torch.from_numpy(placed_eyes(plan, before, points, size))[None, None]
    return PreparedFace(target, condition, reference, framing, whole, native, eyes, plan.edits_hair)


def _native(
    small: RegionAssembler,
    located: Mapping[str, LocatedFace],
    plan: Plan,
    points: NDArray[np.float64],
    mask: Floats | None,
    framing: Framing,
    side: int,
) -> ReferenceImage:
    target = located[TARGET]
    images = {
        name: framing.pixels(
            face, min(max(framing.side(face.native_size), _LEAST_NATIVE), MAX_NATIVE)
        )
        for name, face in located.items()
        if name != TARGET
    }
    images[TARGET] = framing.pixels(target, side)
    pictures = higher_resolution(small.pictures, images)
    native_mask = _mask_in_crop(mask, target, side) if plan.by_mask else None
    assembler = RegionAssembler(pictures, plan, points, native_mask)
    follow(assembler, small)
    return assembler.assemble(side)


def _mask_in_crop(mask: Floats | None, target: LocatedFace, size: int) -> Floats:
    if mask is None:
        raise OptionError("this edit needs a mask (white = redraw): give --mask FILE")
    grey = torch.from_numpy(np.ascontiguousarray(mask))[None, None]
    cut = np.asarray(crop_image(grey, target.frame(size), size), np.float32)[0, 0]
    if float(cut.max()) <= 0:
        raise OptionError(
            f"the mask covers nothing of the face in {target.name}; draw it over the face, "
            "or choose another face with --face"
        )
    return np.clip(cut, 0, 1)
