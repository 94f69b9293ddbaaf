# SPDX-License-Identifier: Apache-2.0
"""Where eyes look, and what of a face goes with them: irises and lids."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from facex.geometry.face_geometry import FaceGeometry
from facex.geometry.pose import Pose, place, unplace
from facex.geometry.topology import EYE_CORNERS, EYES, IRISES, LIPS_OUTER
from facex.types import BLENDSHAPES

EYEBALL_TO_IRIS: Final = 2.05
"""Radius of the eyeball over that of the iris (12.0 and 5.85 mm in adults)."""
LOOK_GAIN: Final = 1.3
"""How much further than the eyeball's geometry says a slider moves the iris.

Lids hide a part of the movement, and a gaze network that reads the edited photos saw .54 of what
was asked."""
LID_GAIN: Final = 2.5
"""How much further than the fitted basis says lids follow eyes that turn up or down.

Of the pitch that was asked for a gaze network saw .44 with 1, and .70 with this."""
LOOK_RANGE: Final = 0.6
"""Radians of gaze that a look blendshape of 1 stands for."""

LOOK: Final = tuple(i for i, name in enumerate(BLENDSHAPES) if name.startswith("eyeLook"))
_FOLLOWED: Final = tuple(i for i in LOOK if BLENDSHAPES[i][7:].startswith(("Up", "Down")))
"""Those whose lids go along: up and down."""


def gaze_direction(gaze: Tensor) -> Tensor:
    """Unit vectors (..., 3) of angles (..., [pitch, yaw]), camera frame."""
    pitch, yaw = gaze[..., 0], gaze[..., 1]
    return torch.stack([pitch.cos() * yaw.sin(), -pitch.sin(), -pitch.cos() * yaw.cos()], dim=-1)


def turned_gaze(owner: FaceGeometry, rotation: Tensor) -> Tensor:
    """Where the owner's eyes look, (B, 2, 2), when they turn along with the head (B, 3, 3)."""
    if rotation is owner.rotation:
        return owner.gaze
    change = rotation @ owner.rotation.mT
    direction = gaze_direction(owner.gaze) @ change.mT
    pitch = torch.asin((-direction[..., 1]).clamp(-1, 1))
    return torch.stack([pitch, torch.atan2(direction[..., 0], -direction[..., 2])], dim=-1)


def look_values(values: Tensor, turn: Tensor) -> Tensor:
    """Blendshapes (B, 52) after the eyes were turned by (B, 2, 2): the lids follow the look."""
    if not bool(turn.any()):
        return values
    values = values.clone()
    for eye, side in enumerate(("Right", "Left")):
        # The picture's right is the nose's side for the right eye.
        towards, away = ("In", "Out") if side == "Right" else ("Out", "In")
        for axis, plus, minus in ((0, "Up", "Down"), (1, towards, away)):
            up = BLENDSHAPES.index(f"eyeLook{plus}{side}")
            down = BLENDSHAPES.index(f"eyeLook{minus}{side}")
            change = turn[:, eye, axis] / LOOK_RANGE
            # Relax the opposite first, then push.
            left = values[:, down] - change.clamp(min=0)
            right = values[:, up] + change.clamp(max=0)
            values[:, up] = (right.clamp(min=0) - left.clamp(max=0)).clamp(0, 1)
            values[:, down] = (left.clamp(min=0) - right.clamp(max=0)).clamp(0, 1)
    return values


def lid_gain(values: Tensor, before: Tensor) -> Tensor:
    """What the lids' gain adds to the change of the blendshapes (B, 52)."""
    extra = torch.zeros_like(values)
    extra[:, _FOLLOWED] = (LID_GAIN - 1) * (values - before)[:, _FOLLOWED]
    return extra


def lids_met(landmarks: Tensor) -> Tensor:
    """Landmarks (B, 478, 3) whose upper lids end where the lower ones begin.

    What shuts one eye shuts another beyond that, and a mesh that folds shows what is under it.
    """
    result = landmarks
    for eye in EYES:
        half = len(eye) // 2
        upper, lower = list(eye[1:half]), list(eye[:half:-1])
        xy = result[..., :2]
        along = xy[:, eye[half]] - xy[:, eye[0]]
        down = torch.stack([-along[:, 1], along[:, 0]], 1)
        down = down / down.norm(dim=1, keepdim=True).clamp_min(1e-6)
        lips = xy[:, list(LIPS_OUTER)].mean(1) - xy[:, eye[0]]
        down = down * torch.where((down * lips).sum(1, keepdim=True) < 0, -1.0, 1.0)
        gap = ((xy[:, lower] - xy[:, upper]) * down[:, None]).sum(-1)
        if bool((gap < 0).any()):
            result = result.clone()
            result[:, upper, :2] += gap.clamp_max(0)[..., None] * down[:, None]
    return result


def with_irises(
    landmarks: Tensor, owner: FaceGeometry, pose: Pose, looks: Tensor, turn: Tensor
) -> Tensor:
    """Put the owner's irises into the result's eyes and turn them.

    Args:
        landmarks: (B, 478, 3) the result's, crop pixels.
        owner: whose irises.
        pose: of the result.
        looks: (B, 2, 2) radians, where they look without being turned.
        turn: (B, 2, 2) radians, by how much they are.

    Returns:
        The landmarks (B, 478, 3) with those irises.
    """
    result = landmarks.clone()
    own_pose = Pose(owner.rotation, owner.scale, owner.translation, torch.zeros_like(owner.scale))
    same_eyes = pose.rotation is owner.rotation
    for eye, (corners, iris) in enumerate(zip(EYE_CORNERS, IRISES, strict=True)):
        pair, points = list(corners), list(iris)
        if same_eyes and torch.equal(landmarks[:, pair], owner.landmarks[:, pair]):
            placed = owner.landmarks[:, points]
        else:
            before = unplace(owner.landmarks[:, pair + points], own_pose)
            after = unplace(landmarks[:, pair], pose)
            ratio = (after[:, 1] - after[:, 0]).norm(dim=-1) / (before[:, 1] - before[:, 0]).norm(
                dim=-1
            ).clamp_min(1e-6)
            offset = before[:, 2:] - before[:, :2].mean(dim=1, keepdim=True)
            centred = after.mean(dim=1, keepdim=True) + offset * ratio[:, None, None]
            placed = place(centred, pose)
        if bool(turn[:, eye].any()):
            radius = (placed[:, 1:] - placed[:, :1]).norm(dim=-1).mean(dim=1)
            step = gaze_direction(looks[:, eye] + turn[:, eye]) - gaze_direction(looks[:, eye])
            placed = placed + (EYEBALL_TO_IRIS * radius[:, None] * step)[:, None]
        result[:, points] = placed
    return result
