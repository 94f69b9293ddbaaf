# SPDX-License-Identifier: Apache-2.0
"""What an edit cuts off of a head that goes: a tall hat, very long hair.

An edit sees a crop with some room around it. Where another's hair comes, the target's own goes, and
what of it lies beyond would float above or beside the new head. A still wider crop is parsed, and
what grows out of the head there is filled from the ground around it.
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
from facex.framing import ROOMY, WORN, Framing
from facex.imaging.paste import paste_back
from facex.imaging.warp import crop_image
from facex.locate import LocatedFace

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_FAR: Final = Framing(0.5)
"""What is looked at: twice the crop. A parser of crops still reads heads there."""
_MOST: Final = 1024
"""Largest side at which it is filled."""
_LEAST: Final = 0.001
"""Share of what is looked at below which nothing was cut off."""
_NEAR: Final = 0.3
"""How far around a face, of its height, and above its middle, its hair or hat begins."""
_ROOM: Final = 0.016
"""How far around it the ground is mixed with it, as a share of what is looked at."""


def clear_beyond(
    photo: Pixels, changed: Floats, target: LocatedFace, parser: Extractor
) -> tuple[Pixels, Floats]:
    """Take the target's hair and hat beyond its crop and the room around it out of a photo.

    Args:
        photo: (H, W, 3), edited inside of them.
        changed: (H, W) in [0, 1], where the edit changed it.
        target: as it was before.
        parser: provides ``parsing``.

    Returns:
        The photo and what is changed now.
    """
    size = target.representation.crop_size
    frame = _FAR.frame(target, size)
    gone = _cut_off(target, parser)
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


def _cut_off(target: LocatedFace, parser: Extractor) -> NDArray[np.bool_]:
    """Hair and hat of the head that lie beyond the room around it, ``(S, S)`` of what is seen."""
    size = target.representation.crop_size
    labels, points = _FAR.parse(target, parser)
    goes = np.isin(labels, WORN).astype(np.uint8)
    half = ROOMY.side(size) / _FAR.side(size)
    low, high = (round(size / 2 * (1 + sign * half)) for sign in (-1, 1))
    inside = np.zeros(goes.shape, bool)
    inside[low:high, low:high] = True
    # Dark things on shoulders, too, are called hair.
    near = np.zeros(goes.shape, bool)
    face = points[:, :2]
    room = _NEAR * np.ptp(face[:, 1])
    (left, top), (right, _) = face.min(0) - room, face.max(0) + room
    bottom = face[:, 1].mean()
    near[max(int(top), 0) : int(bottom), max(int(left), 0) : int(right)] = True
    return reaching(goes, near) & ~inside
