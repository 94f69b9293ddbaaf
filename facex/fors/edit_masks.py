# SPDX-License-Identifier: Apache-2.0
"""The regions of all pictures of an edit, as that edit needs them (DESIGN 4).

A face that goes into another photo loses its rim; what hair falls over in its own photo comes from
its other half, or stays behind; another's eyes alone bring their lids; what goes takes along the
rim of what is around it, and a beard its hairs below the chin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facex.fors.face_picture import FacePicture
from facex.fors.guess import FRINGE
from facex.fors.layers import STAYS_PUT
from facex.fors.lids import lid_area
from facex.fors.morphology import grow
from facex.fors.region_masks import Masks, face_of, head_of, region_masks
from facex.fors.shaving import shaves, take_off_beard
from facex.fors.trim import trim_face
from facex.fors.veiled import (
    NOTHING,
    Veiled,
    brow_area,
    hidden_brows,
    hidden_eyes,
    lost_lids,
    lost_tails,
    unveiled_masks,
)
from facex.recipes.plan import Plan
from facex.recipes.values import NONE, TARGET
from facex.types import FACE_REGIONS, Region

Floats = NDArray[np.float32]
_FRAME_ROOM: Final = 0.016
"""How far around glasses that are taken off hair and ground are filled, as a share of the side."""
_TAIL: Final = 0.012
"""How far from hair a brow is mixed with it, as a share of the side."""
_HAIRS: Final = 0.007
"""How far hairs of a brow reach beyond what the parser calls so, as a share of the side."""


class EditMasks(NamedTuple):
    """What an edit shows and replaces of its pictures.

    Attributes:
        masks: of all pictures.
        veiled: brows and eyes hidden by hair that stays behind.
        shaven: a bearded face is replaced by one without a beard.
    """

    masks: dict[str, Masks]
    veiled: Veiled
    shaven: bool


def edit_masks(plan: Plan, pictures: Mapping[str, FacePicture], *, lends: bool) -> EditMasks:
    """Masks of all pictures, and what is known of hair in them.

    Args:
        plan: which region comes from whom.
        pictures: decomposed pictures by name, always with ``target``.
        lends: somebody else's face is shown, and the target lends what it hides.
    """
    masks = {name: region_masks(picture) for name, picture in pictures.items()}
    for name, own in masks.items():
        if name != TARGET:
            trim_face(own, pictures[name], fringe=plan.pixels[Region.HAIR] == name)
    veiled = _lift_hair(plan, pictures, masks, lends=lends)
    _take_lids(plan, pictures, masks)
    shaven = shaves(plan, pictures, masks)
    if shaven:
        take_off_beard(masks[TARGET], pictures[TARGET])
    target, size = masks[TARGET], pictures[TARGET].crop_size
    if plan.pixels[Region.BROWS] not in (TARGET, plan.pixels[Region.SKIN]):
        # The hairs of what goes reach into the skin beside it: an outline of another's brows.
        hairs = grow(target[Region.BROWS], max(1, round(_HAIRS * size)))
        target[Region.SKIN] = target[Region.SKIN] * (1 - hairs)
    if plan.edits_hair:
        # Where the hair goes, so does the rim of the ground that is mixed with it.
        rim = 1 - grow(head_of(target), max(1, round(FRINGE * size)))
        for region in STAYS_PUT:
            target[region] = target[region] * rim
    if Region.GLASSES in plan.edit and plan.pixels[Region.GLASSES] != TARGET:
        _take_off_glasses(target, size)
    return EditMasks(masks, veiled, shaven)


def _lift_hair(
    plan: Plan, pictures: Mapping[str, FacePicture], masks: Mapping[str, Masks], *, lends: bool
) -> Veiled:
    """Another's brows and lids under hair that stays behind: of the other half, or left out."""
    name = plan.pixels[Region.BROWS]
    # Only a face that is replaced as a whole leaves brows to be lent.
    whole = plan.pixels[Region.SKIN] == name and lends
    if not whole or name == plan.pixels[Region.HAIR]:
        return NOTHING
    picture, own = pictures[name], masks[name]
    points, size = picture.landmarks, picture.crop_size
    # Hair beside a brow, too, may be called a brow.
    hair = grow(own[Region.HAIR], max(1, round(_TAIL * size)))
    brows = own[Region.BROWS] * (1 - hair)
    hidden = hidden_brows(picture.parsing, points)
    if not any(hidden):
        hidden = lost_tails(picture.parsing, points, brows)
    own[Region.BROWS] = brows * brow_area(points, size, (not hidden[0], not hidden[1]))
    eyes = hidden_eyes(picture.parsing, points)
    if not any(eyes):
        eyes = lost_lids(points, np.minimum(face_of(own) + own[Region.GLASSES], 1))
    veiled = Veiled(hidden, eyes)
    unveiled_masks(own, points, veiled)
    return veiled


def _take_lids(plan: Plan, pictures: Mapping[str, FacePicture], masks: Mapping[str, Masks]) -> None:
    """Another's eyes without another's face: an eye is its lids and lashes, too."""
    name = plan.pixels[Region.EYES]
    if name in (TARGET, NONE, plan.pixels[Region.SKIN]) or name not in masks:
        return
    own, picture = masks[name], pictures[name]
    near = lid_area(picture.landmarks, picture.crop_size)
    near = near * np.minimum(own[Region.SKIN] + own[Region.EYES], 1)
    own[Region.EYES] = np.maximum(own[Region.EYES], near)


def _take_off_glasses(masks: Masks, size: int) -> None:
    """Frames reach beyond the face, and the parser draws them thin: what is near goes, too."""
    if not masks[Region.GLASSES].any():
        return
    room = grow(masks[Region.GLASSES], max(1, round(_FRAME_ROOM * size)))
    for region in masks.keys() - {*FACE_REGIONS, Region.GLASSES}:
        masks[region] = masks[region] * (1 - room)
    masks[Region.GLASSES] = np.maximum(masks[Region.GLASSES], room)
