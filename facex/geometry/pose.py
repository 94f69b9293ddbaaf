# SPDX-License-Identifier: Apache-2.0
"""Weak-perspective pose: ``landmarks = scale * R @ X + (t, depth)``, and angles to and from R.

Camera frame: x right, y down, z away from the viewer. A rotation is
``R = Rz(roll) Rx(-pitch) Ry(-yaw)``: the head turns about its own upright axis, nods about the
picture's horizontal, and the picture's content is rolled last. So yaw + looks to the picture's
right, pitch + up, roll + is clockwise (:mod:`facex.types`), and changing one angle by 10 degrees
is a rotation by exactly 10 degrees.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Pose(NamedTuple):
    """A fitted pose.

    Attributes:
        rotation: (B, 3, 3).
        scale: (B,) pixels per canonical unit (the distance between the pupils).
        translation: (B, 2) pixels; where the canonical origin (midway between the pupils) lies.
        depth: (B,) pixels; the landmarks' own zero of depth, of no meaning in the picture.
    """

    rotation: Tensor
    scale: Tensor
    translation: Tensor
    depth: Tensor


def rotation_from_euler(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Rotation of three angles in radians.

    Args:
        yaw: (...,) positive: looks to the picture's right.
        pitch: (...,) positive: up.
        roll: (...,) positive: clockwise in the picture.

    Returns:
        (..., 3, 3).
    """
    yaw, pitch, roll = torch.broadcast_tensors(yaw, pitch, roll)
    cy, sy = yaw.cos(), yaw.sin()
    cp, sp = pitch.cos(), pitch.sin()
    cr, sr = roll.cos(), roll.sin()
    rows = (
        (cr * cy - sr * sp * sy, -sr * cp, -cr * sy - sr * sp * cy),
        (sr * cy + cr * sp * sy, cr * cp, -sr * sy + cr * sp * cy),
        (cp * sy, -sp, cp * cy),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def euler_from_rotation(rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Yaw, pitch and roll in radians of rotations (..., 3, 3); each (...,).

    The inverse of :func:`rotation_from_euler` for pitches within 90 degrees.
    """
    pitch = torch.asin(-rotation[..., 2, 1].clamp(-1, 1))
    yaw = torch.atan2(rotation[..., 2, 0], rotation[..., 2, 2])
    roll = torch.atan2(-rotation[..., 0, 1], rotation[..., 1, 1])
    return yaw, pitch, roll


def facing_angle(first: Tensor, second: Tensor) -> Tensor:
    """Radians (...,) between where two heads of rotations (..., 3, 3) face, whatever their roll."""
    return torch.acos((first[..., 2] * second[..., 2]).sum(-1).clamp(-1, 1))


def turned_at_most(rotation: Tensor, start: Tensor, most: float) -> Tensor:
    """A head that faces at most so far from where another does.

    Args:
        rotation: (B, 3, 3) of the head.
        start: (B, 3, 3) of the other.
        most: radians.

    Returns:
        (B, 3, 3): turned back about the shortest way; ``rotation`` itself where nothing is.
    """
    angle = facing_angle(rotation, start)
    beyond = (angle - most).clamp_min(0)
    if not bool(beyond.any()):
        return rotation
    axis = torch.linalg.cross(rotation[..., 2], start[..., 2])
    axis = axis / axis.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    x, y, z = axis.unbind(-1)
    zero = torch.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    skew = torch.stack([torch.stack(row, -1) for row in rows], -2)
    return torch.linalg.matrix_exp(beyond[..., None, None] * skew) @ rotation


def place(points: Tensor, pose: Pose) -> Tensor:
    """Put canonical points (B, N, 3) into the picture: (B, N, 3) in pixels."""
    shift = torch.cat([pose.translation, pose.depth[:, None]], dim=-1)
    return pose.scale[:, None, None] * points @ pose.rotation.mT + shift[:, None]


def unplace(points: Tensor, pose: Pose) -> Tensor:
    """Undo :func:`place`: picture points (B, N, 3) in the canonical frame."""
    shift = torch.cat([pose.translation, pose.depth[:, None]], dim=-1)
    return (points - shift[:, None]) @ pose.rotation / pose.scale[:, None, None]


def fit_pose(landmarks: Tensor, shape: Tensor, weights: Tensor | None = None) -> Pose:
    """Weighted similarity Procrustes fit in three dimensions.

    Args:
        landmarks: (B, N, 3) points in the picture.
        shape: (N, 3) or (B, N, 3) the same points in the canonical frame.
        weights: (N,) or (B, N) non-negative; all one by default.

    Returns:
        The pose that minimises the weighted squared distance; always a proper rotation.
    """
    # Doubles: an unedited face has to come back to well under a hundredth of a pixel.
    target = landmarks.double()
    source = shape.double().expand_as(target)
    weight = torch.ones_like(target[..., 0]) if weights is None else weights.double()
    weight = weight.expand_as(target[..., 0])[..., None]
    weight = weight / weight.sum(dim=1, keepdim=True)
    target_mean = (weight * target).sum(dim=1, keepdim=True)
    source_mean = (weight * source).sum(dim=1, keepdim=True)
    target, source = target - target_mean, source - source_mean
    u, s, vt = torch.linalg.svd((weight * target).mT @ source)
    sign = torch.ones_like(s)
    sign[:, 2] = torch.sign(torch.linalg.det(u @ vt))
    rotation = (u * sign[:, None]) @ vt
    scale = (s * sign).sum(dim=-1) / (weight * source.square()).sum(dim=(1, 2))
    shift = target_mean[:, 0] - scale[:, None] * (rotation @ source_mean.mT)[..., 0]
    kind = landmarks.dtype
    return Pose(rotation.to(kind), scale.to(kind), shift[:, :2].to(kind), shift[:, 2].to(kind))
