# SPDX-License-Identifier: Apache-2.0
"""Sliders and drivers: from "whose shape, whose pose, whose expression" to a mesh (DESIGN 5).

The target is the photo that is edited; what nobody else gives comes from it, and its head keeps
its place and size. An edit that asks for nothing returns the target itself, the same tensors.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from facex.geometry.extend import HEAD_CENTRE
from facex.geometry.face_geometry import FaceGeometry
from facex.geometry.gaze import (
    LOOK,
    LOOK_GAIN,
    lid_gain,
    lids_met,
    look_values,
    turned_gaze,
    with_irises,
)
from facex.geometry.pose import (
    Pose,
    euler_from_rotation,
    place,
    rotation_from_euler,
    turned_at_most,
    unplace,
)
from facex.geometry.shape_model import ShapeModel, bundled
from facex.geometry.sliders import Sliders, check_sliders, slider_gain
from facex.geometry.topology import EYES, LIPS_INNER, LIPS_OUTER
from facex.types import BLENDSHAPES

MOST_TURN: Final = math.radians(35)
"""How far a head is turned from where its photo shows it: beyond, most of it would be a guess."""
MOST_HEAD_TURN: Final = math.radians(25)
"""The same of a head that comes from another photo, with its hair and ears: behind them is nothing
of it that could be shown."""


def combine(
    target: FaceGeometry,
    *,
    identity: FaceGeometry | None = None,
    head: FaceGeometry | None = None,
    pose: FaceGeometry | None = None,
    expression: FaceGeometry | None = None,
    gaze: FaceGeometry | None = None,
    relative: bool = False,
    reference: FaceGeometry | None = None,
    sliders: Sliders | None = None,
    model: ShapeModel | None = None,
) -> FaceGeometry:
    """The geometry of the result.

    Args:
        target: the photo that is edited; gives whatever no other argument gives, and always the
            place and size of the head in the crop.
        identity: whose shape (and residual).
        head: whose whole head is shown; it is turned from where its photo shows it by no more
            than ``MOST_HEAD_TURN``.
        pose: whose head angles.
        expression: whose blendshapes.
        gaze: whose gaze. With the pose of the same person the eyes are turned in the head as that
            person's are; otherwise they look where that person looks, seen from the camera.
        relative: pose, expression and gaze are the *change* of the driver against ``reference``.
        reference: the driver at rest; by default frontal, without expression, looking ahead.
        sliders: numbers on top.
        model: the shape model; the bundled one by default.

    Returns:
        The result's geometry, with ``landmarks`` in the target's crop. It is ``target`` itself
        when nothing was asked.

    Raises:
        OptionError: an unknown blendshape or a value out of range.
    """
    sliders = sliders or Sliders()
    check_sliders(sliders)
    sources = [None if s is target else s for s in (identity, pose, expression, gaze)]
    identity, pose, expression, gaze = sources
    if not any(sources) and sliders == Sliders():
        return target
    model = model or bundled()
    rotation, translation = _pose(target, head, pose, relative, reference, sliders)
    values = _expression(target, expression, relative, reference, sliders)
    unslid = _expression(target, expression, relative, reference, replace(sliders, expression={}))

    # Eyes: whose eyes in the head, and by how much they are then turned.
    owner = gaze if gaze is not None and gaze is pose and not relative else target
    values = values.clone()
    values[:, LOOK] = owner.expression[:, LOOK]
    looks = turned_gaze(owner, rotation)
    turn = torch.zeros_like(looks)
    if gaze is not None and owner is not gaze:
        rest = torch.zeros_like(gaze.gaze) if reference is None else reference.gaze
        turn = gaze.gaze - rest if relative else gaze.gaze - looks
    asked = looks.new_tensor([sliders.gaze_pitch, sliders.gaze_yaw])
    place_turn = (turn + LOOK_GAIN * asked).clamp(-1.0, 1.0)
    turn = (turn + asked).clamp(-1.0, 1.0)
    values, unturned = look_values(values, turn), values

    face = identity or target
    # A driver's change carries no mouth of its own.
    teller = target if relative or expression is None else expression
    residual = face.residual
    if teller is not face:
        weight = _mobile_weight(model)[:, None]
        residual = residual + weight * (teller.residual - residual)
    points = model.shape_points(face.shape, values, residual)
    old = target.pose(model)
    new = Pose(rotation, target.scale, translation, old.depth)
    landmarks = place(points, new)
    if identity is None and rotation is target.rotation:
        # The difference form keeps untouched points where the photo has them, to the last bit.
        offset = model.expression_offset(values - target.expression) + (residual - target.residual)
        landmarks = target.landmarks + target.scale[:, None, None] * offset @ rotation.mT
    extra = lid_gain(values, unturned) + slider_gain(values, unslid, sliders)
    if bool(extra.any()):
        offset = model.expression_offset(extra)
        landmarks = landmarks + target.scale[:, None, None] * offset @ rotation.mT
    landmarks = with_irises(lids_met(landmarks), owner, new, looks, place_turn)
    residual = unplace(landmarks, new) - model.shape_points(face.shape, values)
    return replace(
        target,
        landmarks=landmarks,
        shape=face.shape,
        expression=values,
        rotation=rotation,
        translation=translation,
        residual=residual,
        gaze=looks + turn,
    )


def turn_head(target: FaceGeometry, rotation: Tensor) -> Tensor:
    """Translation (B, 2) that keeps the head's centre in place under a new rotation."""
    centre = target.rotation.new_tensor(HEAD_CENTRE)
    moved = (target.rotation - rotation) @ centre
    return target.translation + target.scale[:, None] * moved[:, :2]


def _pose(
    target: FaceGeometry,
    head: FaceGeometry | None,
    pose: FaceGeometry | None,
    relative: bool,
    reference: FaceGeometry | None,
    sliders: Sliders,
) -> tuple[Tensor, Tensor]:
    rotation = target.rotation
    if pose is not None:
        rotation = pose.rotation
        if relative:
            change = rotation if reference is None else rotation @ reference.rotation.mT
            rotation = change @ target.rotation
    if sliders.turns:
        yaw, pitch, roll = euler_from_rotation(rotation)
        rotation = rotation_from_euler(
            yaw + sliders.yaw, pitch + sliders.pitch, roll + sliders.roll
        )
    rotation = turned_at_most(rotation, target.rotation, MOST_TURN)
    if head is not None:
        rotation = turned_at_most(rotation, head.rotation, MOST_HEAD_TURN)
    if rotation is target.rotation:
        return rotation, target.translation
    return rotation, turn_head(target, rotation)


def _expression(
    target: FaceGeometry,
    expression: FaceGeometry | None,
    relative: bool,
    reference: FaceGeometry | None,
    sliders: Sliders,
) -> Tensor:
    values = target.expression
    if expression is not None:
        values = expression.expression
        if relative:
            rest = torch.zeros_like(values) if reference is None else reference.expression
            values = (target.expression + values - rest).clamp(0, 1)
    if sliders.expression:
        values = values.clone()
        for name, value in sliders.expression.items():
            column = BLENDSHAPES.index(name)
            before = values[:, column] if sliders.add_expression else 0.0
            values[:, column] = before + value
        values = values.clamp(0, 1)
    return values


def _mobile_weight(model: ShapeModel) -> Tensor:
    """(478,): where a face's residual belongs to its expression rather than to its identity."""
    mean = model.mean
    moving = [*LIPS_INNER, *LIPS_OUTER, *EYES[0], *EYES[1]]
    near = torch.cdist(mean, mean[moving]).min(dim=1).values
    return torch.exp(-0.5 * (near / 0.1).square())
