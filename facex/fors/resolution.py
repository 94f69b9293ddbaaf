# SPDX-License-Identifier: Apache-2.0
"""One reference at two resolutions: for the generator, and for the pixels of the photo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from facex.fors.face_picture import FacePicture
from facex.fors.region_assembler import RegionAssembler


def follow(assembler: RegionAssembler, small: RegionAssembler) -> None:
    """Use what was found at another resolution, so that both references agree."""
    assembler.looks.follow(small.looks)
    assembler.features.look, assembler.features.turn = small.features.look, small.features.turn


def higher_resolution(
    pictures: Mapping[str, FacePicture], images: Mapping[str, NDArray[np.generic]]
) -> dict[str, FacePicture]:
    """The same pictures with other pixels of the same crop frames."""
    return {
        name: replace(picture, image=images.get(name, picture.image))
        for name, picture in pictures.items()
    }
