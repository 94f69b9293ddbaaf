# SPDX-License-Identifier: Apache-2.0
"""The order in which regions are painted into a reference, and which of them go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from facex.fors.face_picture import FacePicture
from facex.recipes.plan import Plan
from facex.recipes.values import TARGET
from facex.types import FACE_REGIONS, PARSING_CLASSES, Region

_HAT: Final = PARSING_CLASSES.index("hat")
WORN: Final = 0.01
"""Share of a picture from which a hat is one."""
LAYERS: Final[tuple[tuple[Region, ...], ...]] = (
    (Region.BACKGROUND, Region.CLOTH),
    (Region.NECK,),
    (Region.EARS,),
    FACE_REGIONS,
    (Region.HAIR,),
    (Region.GLASSES,),
    (Region.HAT,),
)
"""Painting order, back to front."""

GROUND: Final = LAYERS[:2]
"""Layers that do not belong to the head."""

STAYS_PUT: Final = frozenset({Region.BACKGROUND, Region.CLOTH})
"""Regions of the target that do not follow its head."""


def with_hat(plan: Plan, pictures: Mapping[str, FacePicture]) -> Plan:
    """Hair under a hat comes with the hat: alone it would leave a head without a top."""
    name = plan.pixels[Region.HAIR]
    if name == TARGET or name not in pictures or plan.pixels[Region.HAT] == name:
        return plan
    if (pictures[name].parsing == _HAT).mean() < WORN:
        return plan
    return replace(
        plan, pixels={**plan.pixels, Region.HAT: name}, edit=frozenset({*plan.edit, Region.HAT})
    )
