# SPDX-License-Identifier: Apache-2.0
"""Another's face turned a little further than it shall look turned.

A warp moves the points of a face, but nostrils, shades and lids keep something of how their own
photo was turned, and whoever reads the pose from the pixels sees that.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from facex.geometry.face_geometry import FaceGeometry
from facex.geometry.pose import euler_from_rotation, place, rotation_from_euler, unplace

KEPT: Final = (0.017, 0.03, 0.05)
"""By which share of the difference of yaw, pitch and roll a face is turned further.

Four times as much is what is seen to be left (80 pairs of training faces, least squares), but a
face turned away from its photo is also recognised less well: all of it costs .008 of the cosine."""
_MOST: Final = math.radians(6)
"""Largest change of an angle."""


def overturned(result: FaceGeometry, shown: Tensor) -> FaceGeometry:
    """Turn a result further away from how the face that it shows was turned in its photo.

    Args:
        result: the geometry.
        shown: ``(B, 3, 3)``, the rotation of the face in its own photo.

    Returns:
        The geometry, turned about the middle of the face, which stays where it is.
    """
    angles = torch.stack(result.angles, 1)
    away = angles - torch.stack(euler_from_rotation(shown), 1)
    away = torch.atan2(away.sin(), away.cos())
    further = (away * away.new_tensor(KEPT)).clamp(-_MOST, _MOST)
    rotation = rotation_from_euler(*(angles + further).unbind(1))
    pose = result.pose()
    turned = place(unplace(result.landmarks, pose), pose._replace(rotation=rotation))
    shift = (result.landmarks - turned).mean(1)
    return replace(
        result,
        landmarks=turned + shift[:, None],
        rotation=rotation,
        translation=result.translation + shift[:, :2],
    )
