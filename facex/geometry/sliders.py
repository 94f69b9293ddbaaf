# SPDX-License-Identifier: Apache-2.0
"""Numbers that a user sets, and how far they move a mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from facex.errors import OptionError
from facex.types import BLENDSHAPES

SLIDER_GAIN: Final[Mapping[str, float]] = {
    "jawOpen": 1.3,
    **dict.fromkeys(("eyeBlinkLeft", "eyeBlinkRight"), 1.4),
    **dict.fromkeys(("browInnerUp", "browOuterUpLeft", "browOuterUpRight"), 1.8),
    **dict.fromkeys(("browDownLeft", "browDownRight"), 2.2),
    **dict.fromkeys(("mouthSmileLeft", "mouthSmileRight"), 1.35),
    **dict.fromkeys(("mouthPucker", "mouthFunnel"), 2.4),
    **dict.fromkeys(("mouthUpperUpLeft", "mouthUpperUpRight"), 1.6),
    **dict.fromkeys(("mouthLowerDownLeft", "mouthLowerDownRight"), 1.6),
}
"""How much further than the fitted basis says a slider moves the mesh.

The basis is a ridge regression, which shrinks towards the mean face; a network that reads
blendshapes from the edited photos saw .05 to .70 of what was asked. Drivers need no gain: their
residual carries what the basis leaves out."""


@dataclass(frozen=True)
class Sliders:
    """Numbers a user sets, in radians; all zero changes nothing.

    Attributes:
        yaw, pitch, roll: turn the head by so much, about its centre behind the face.
        expression: blendshape name -> value in 0..1, or what to add with ``add_expression``.
        add_expression: add the values instead of setting them.
        gaze_yaw, gaze_pitch: turn both eyes by so much.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    expression: Mapping[str, float] = field(default_factory=dict)
    add_expression: bool = False
    gaze_yaw: float = 0.0
    gaze_pitch: float = 0.0

    @property
    def turns(self) -> bool:
        """Whether the head is turned."""
        return any((self.yaw, self.pitch, self.roll))

    @property
    def looks(self) -> bool:
        """Whether the eyes are turned."""
        return any((self.gaze_yaw, self.gaze_pitch))


def check_sliders(sliders: Sliders) -> None:
    """Refuse unknown blendshapes and values out of range.

    Raises:
        OptionError: names the slider and what was expected.
    """
    low = -1.0 if sliders.add_expression else 0.0
    for name, value in sliders.expression.items():
        if name not in BLENDSHAPES[1:]:
            raise OptionError(f"no blendshape {name!r}; one of {', '.join(BLENDSHAPES[1:])}")
        if not low <= value <= 1.0:
            raise OptionError(f"blendshape {name} must be between {low:g} and 1, got {value:g}")
    for name in ("yaw", "pitch", "roll", "gaze_yaw", "gaze_pitch"):
        if not abs(getattr(sliders, name)) <= torch.pi:
            raise OptionError(f"slider {name} must be within half a turn")


def slider_gain(values: Tensor, before: Tensor, sliders: Sliders) -> Tensor:
    """What the sliders' gains add to the change of the blendshapes (B, 52)."""
    extra = torch.zeros_like(values)
    for name in sliders.expression:
        column = BLENDSHAPES.index(name)
        gain = SLIDER_GAIN.get(name, 1.0) - 1
        extra[:, column] = gain * (values[:, column] - before[:, column])
    return extra
