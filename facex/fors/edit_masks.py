# SPDX-License-Identifier: Apache-2.0
"""The regions of all pictures of an edit, as that edit needs them (DESIGN 4).

A face that goes into another photo loses its rim; brows that hair falls over stay behind; another's
eyes alone bring their lids; what goes takes along the rim of what is around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facex.fors.brows import Veiled, brow_area, hidden_brows, hidden_eyes
from facex.fors.face_picture import FacePicture
from facex.fors.guess import FRINGE
from facex.fors.layers import STAYS_PUT
from facex.fors.lids import lid_area
from facex.fors.morphology import grow
from facex.fors.region_masks import region_masks
from facex.fors.trim import trim_face
from facex.recipes.plan import Plan
from facex.recipes.values import NONE, TARGET
from facex.types import FACE_REGIONS, HEAD_REGIONS, Region

Floats = NDArray[np.float32]
Masks = dict[Region, Floats]
"""Of one picture, ``(S, S)`` in [0, 1] each."""

_FRAME_ROOM: Final = 0.016
"""How far around glasses that are taken off hair and ground are filled, as a share of the side."""
_TAIL: Final = 0.012
"""How far from hair a brow is mixed with it, as a share of the side."""


_HAIRS: Final = 0.007
"""How far hairs of a brow reach beyond what the parser calls so, as a share of the side."""


def edit_masks(
    plan: Plan, pictures: Mapping[str, FacePicture], *, lends: bool
) -> tuple[dict[str, Masks], Veiled]:
    """Masks of all pictures, and which brows and eyes hair hides, that stay behind.

    Args:
        plan: which region comes from whom.
        pictures: decomposed pictures by name, always with ``target``.
        lends: somebody else's face is shown, and the target lends what it hides.
    """
    masks = {name: region_masks(picture) for name, picture in pictures.items()}
    for name, own in masks.items():
        if name != TARGET:
            trim_face(own, pictures[name], fringe=plan.pixels[Region.HAIR] == name)
    veiled = _leave_hidden_brows(plan, pictures, masks, lends=lends)
    _take_lids(plan, pictures, masks)
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
    return masks, veiled


def head_of(masks: Mapping[Region, Floats]) -> Floats:
    """Where a picture shows the head, ``(S, S)`` in [0, 1]."""
    head = sum((masks[region] for region in HEAD_REGIONS), np.zeros_like(masks[Region.SKIN]))
    return np.minimum(np.asarray(head, np.float32), 1)


def _leave_hidden_brows(
    plan: Plan, pictures: Mapping[str, FacePicture], masks: Mapping[str, Masks], *, lends: bool
) -> Veiled:
    """Leave out brows of another's that hair falls over, unless that hair comes along."""
    name = plan.pixels[Region.BROWS]
    # Only a face that is replaced as a whole leaves brows to be lent.
    whole = plan.pixels[Region.SKIN] == name and lends
    if not whole or name == plan.pixels[Region.HAIR]:
        return Veiled()
    picture, own = pictures[name], masks[name]
    veiled = hidden_brows(picture.parsing, picture.landmarks)
    # Hair beside a brow, too, may be called a brow.
    shown = brow_area(picture.landmarks, picture.crop_size, (not veiled[0], not veiled[1]))
    hair = grow(own[Region.HAIR], max(1, round(_TAIL * picture.crop_size)))
    own[Region.BROWS] = own[Region.BROWS] * shown * (1 - hair)
    return Veiled(veiled, hidden_eyes(picture.parsing, picture.landmarks))


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
