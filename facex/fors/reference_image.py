# SPDX-License-Identifier: Apache-2.0
"""The reference image that the generator starts from (phi^Inp), and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facex.fors.relight import ColourMap
from facex.types import Region

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ReferenceImage:
    """What the generator starts from.

    Attributes:
        image: ``(H, W, 3)`` RGB float32 in [0, 1]; unknown pixels are filled smoothly.
        known: ``(H, W)`` in [0, 1].
        edit: ``(H, W)`` in [0, 1], what may change.
        geometry: ``(3, H, W)`` position map of the result's mesh in [-1, 1].
        colours: the colour map of each picture, to be used again at another resolution.
    """

    image: Floats
    known: Floats
    edit: Floats
    geometry: Floats
    colours: Mapping[str, ColourMap | None]


@dataclass(frozen=True)
class Painted:
    """Layers put together.

    Attributes:
        image: colours, ``(S, S, 3)``.
        cover: how far they are shown, ``(S, S)``, as are all others.
        front: the head, before the ground.
        face: what the result's mesh covers.
        regions: masks of the parts.
    """

    image: Floats
    cover: Floats
    front: Floats
    face: Floats
    regions: Mapping[Region, Floats]
