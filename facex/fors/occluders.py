# SPDX-License-Identifier: Apache-2.0
"""Things before the face that is replaced: a microphone, a cup, a sleeve. They stay before it."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from facex.fors.face_picture import FacePicture
from facex.fors.morphology import disc
from facex.geometry.topology import region_polygon_mask
from facex.types import PARSING_CLASSES

Floats = NDArray[np.float32]

_GROUND: Final = tuple(PARSING_CLASSES.index(name) for name in ("background", "cloth"))
"""What a parser that has no name for a thing calls it."""
_GLASSES: Final = PARSING_CLASSES.index("eye_g")
_RIM: Final = 0.02
"""How far inside of the face's outline a thing must reach, as a share of the side."""
_LENS: Final = 0.05
"""Half the width of gaps in glasses that are lens, as a share of the side."""
_BEYOND: Final = 0.1
"""How far beyond the face's outline a thing is followed, as a share of the side."""
_LEAST: Final = 0.006
"""Share of the picture that it covers there at least."""


def things_before(picture: FacePicture) -> Floats:
    """Where something that is no part of the head lies over the face: ``(S, S)`` in [0, 1].

    Ground inside of a face's outline is before it: what is behind a face is outside.
    """
    size = picture.crop_size
    oval = region_polygon_mask(picture.landmarks, "face", size)
    inner = cv2.erode(oval, disc(round(_RIM * size)), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    ground = np.isin(picture.parsing, _GROUND).astype(np.uint8)
    if (ground * inner).sum() <= _LEAST * size**2:
        return np.zeros((size, size), np.float32)
    # What mirrors the ground is a lens.
    frame = (picture.parsing == _GLASSES).astype(np.uint8)
    frame = cv2.morphologyEx(frame, cv2.MORPH_CLOSE, disc(round(_LENS * size)))
    ground[ndimage.binary_fill_holes(frame)] = 0
    _, pieces = cv2.connectedComponents(ground * oval, connectivity=8)
    area = np.bincount(pieces[inner > 0], minlength=int(pieces.max()) + 1)
    area[0] = 0
    kept = np.isin(pieces, np.flatnonzero(area > _LEAST * size**2)).astype(np.uint8)
    # It goes on beyond the outline, where another's jaw may reach.
    kept = cv2.dilate(kept, disc(round(_BEYOND * size))) * ground
    return np.asarray(cv2.GaussianBlur(kept.astype(np.float32), (0, 0), size / 256), np.float32)
