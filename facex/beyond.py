# SPDX-License-Identifier: Apache-2.0
"""What an edit leaves of a head that goes: of a tall hat, of very long hair.

An edit sees a crop with some room around it. Where another's hair comes, the target's own goes, and
what of it lies beyond, or was not known so near, would float above or beside the new head. A still
wider crop is parsed, and what grows out of the head there is filled from the ground around it.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from facex.ford.extractor import Extractor
from facex.fors.fill import push_pull
from facex.fors.morphology import disc, reaching, resized
from facex.framing import WORN, Framing
from facex.imaging.paste import paste_back
from facex.imaging.warp import crop_image
from facex.locate import LocatedFace
from facex.types import PARSING_CLASSES

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_FAR: Final = Framing(0.5)
"""What is looked at: twice the crop. A parser of crops still reads heads there."""
_HAT: Final = PARSING_CLASSES.index("hat")
_MOST: Final = 1024
"""Largest side at which it is filled."""
_LEAST: Final = 0.001
"""Share of what is looked at below which nothing was left."""
_SURE: Final = 0.5
"""Change, of 1, below which an edit left a pixel."""
_THIN: Final = 2
"""Radius in pixels below which a piece of what it left is nothing but its outline."""
_NEAR: Final = 0.3
"""How far around a face, of its height, and above its middle, its hair or hat begins."""
_ROOM: Final = 0.016
"""How far around it the ground is mixed with it, as a share of what is looked at."""


def clear_beyond(
    photo: Pixels, changed: Floats, target: LocatedFace, parser: Extractor, *, hat: bool = True
) -> tuple[Pixels, Floats]:
    """Take what an edit left of the target's hair and hat out of a photo.

    Args:
        photo: (H, W, 3), edited.
        changed: (H, W) in [0, 1], where the edit changed it.
        target: as it was before.
        parser: provides ``parsing``.
        hat: the hat goes, too.

    Returns:
        The photo and what is changed now.
    """
    size = target.representation.crop_size
    frame = _FAR.frame(target, size)
    gone = _left(target, parser, changed, hat=hat)
    if gone.mean() < _LEAST:
        return photo, changed
    side = min(max(round(size * frame.scale), size), _MOST)
    frame = _FAR.frame(target, side)
    large = resized(np.asarray(gone, np.float32), side)
    unknown = cv2.dilate(large, disc(round(_ROOM * side)))
    # The new head says nothing of the ground.
    other = crop_image(torch.from_numpy(changed)[None, None], frame, side)[0, 0].numpy()
    known = np.asarray(1 - np.clip(np.maximum(unknown, other), 0, 1), np.float32)
    if known.max() <= 0:
        return photo, changed
    image = np.asarray(crop_image(photo, frame, side) / 255, np.float32)
    filled = np.clip(push_pull(image, known), 0, 1)
    # Up to the border into which the edit fades; feathering softens inwards.
    mask = np.asarray(cv2.dilate(unknown, disc(max(1, round(0.004 * side)))), np.float32)
    found, applied = paste_back(photo, filled, mask, frame, feather_radius=0.006 * side)
    return found, np.maximum(changed, applied)


def _left(
    target: LocatedFace, parser: Extractor, changed: Floats, *, hat: bool
) -> NDArray[np.bool_]:
    """Hair and hat of the head that an edit left, ``(S, S)`` of what is seen."""
    size = target.representation.crop_size
    labels, points = _FAR.parse(target, parser)
    goes = np.isin(labels, WORN).astype(np.uint8)
    # Dark things on shoulders, too, are called hair.
    near = np.zeros(goes.shape, bool)
    face = points[:, :2]
    room = _NEAR * np.ptp(face[:, 1])
    (left, top), (right, _) = face.min(0) - room, face.max(0) + room
    bottom = face[:, 1].mean()
    near[max(int(top), 0) : int(bottom), max(int(left), 0) : int(right)] = True
    whole = reaching(goes, near)
    # A hat has no gaps: emblems and bands of other colours are called ground.
    worn = _filled(whole & (labels == _HAT))
    whole = whole | worn if hat else whole & ~worn
    edited = crop_image(torch.from_numpy(changed)[None, None], _FAR.frame(target, size), size)
    rest = (whole & (edited[0, 0].numpy() < _SURE)).astype(np.uint8)
    # Seen from so far, an outline is not that sure.
    return cv2.morphologyEx(rest, cv2.MORPH_OPEN, disc(_THIN)) > 0


def _filled(part: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The convex hull of a part ``(S, S)``; nothing, if it is hardly there."""
    filled = np.zeros(part.shape, np.uint8)
    if part.mean() > _LEAST:
        corners = np.argwhere(part)[:, ::-1].astype(np.int32)
        cv2.fillConvexPoly(filled, cv2.convexHull(corners), 1)
    return filled > 0
