# SPDX-License-Identifier: Apache-2.0
"""Sliders and drivers: from "whose shape, whose pose, whose expression" to a mesh (DESIGN 5).

The target is the photo that is edited; what nobody else gives comes from it, and its head keeps
its place and size. An edit that asks for nothing returns the target itself, the same tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor

from facex.errors import OptionError
from facex.geometry.extend import HEAD_CENTRE
from facex.geometry.pose import (
    Pose,
    euler_from_rotation,
    place,
    rotation_from_euler,
    turned_at_most,
    unplace,
)
from facex.geometry.shape_model import ShapeModel, bundled
from facex.geometry.topology import EYE_CORNERS, EYES, IRISES, LIPS_INNER, LIPS_OUTER
from facex.types import BLENDSHAPES

EYEBALL_TO_IRIS: Final = 2.05
"""Radius of the eyeball over that of the iris (12.0 and 5.85 mm in adults)."""
MOST_TURN: Final = math.radians(35)
"""How far a head is turned from where its photo shows it: beyond, most of it would be a guess."""
MOST_HEAD_TURN: Final = math.radians(25)
"""The same of a head that comes from another photo, with its hair and ears: behind them is nothing
of it that could be shown."""
LOOK_GAIN: Final = 1.3
"""How much further than the eyeball's geometry says a slider moves the iris.

Lids hide a part of the movement, and a gaze network that reads the edited photos saw .54 of what
was asked."""
LID_GAIN: Final = 2.5
"""How much further than the fitted basis says lids follow eyes that turn up or down.

Of the pitch that was asked for a gaze network saw .44 with 1, and .70 with this."""
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
LOOK_RANGE: Final = 0.6
"""Radians of gaze that a look blendshape of 1 stands for."""

_LOOK: Final = tuple(i for i, name in enumerate(BLENDSHAPES) if name.startswith("eyeLook"))
_FOLLOWED: Final = tuple(i for i in _LOOK if BLENDSHAPES[i][7:].startswith(("Up", "Down")))
"""Those whose lids go along: up and down."""


@dataclass(frozen=True)
class FaceGeometry:
    """The geometry of a batch of faces.

    Attributes:
        landmarks: (B, 478, 3) crop pixels.
        shape: (B, Kid) identity coefficients.
        expression: (B, 52) blendshapes in [0, 1].
        rotation: (B, 3, 3).
        scale: (B,) pixels per pupil distance of the mean face.
        translation: (B, 2) pixels.
        residual: (B, 478, 3) what the shape model cannot say, canonical frame.
        gaze: (B, 2, 2) [right, left eye] x [pitch, yaw], radians, camera frame.
    """

    landmarks: Tensor
    shape: Tensor
    expression: Tensor
    rotation: Tensor
    scale: Tensor
    translation: Tensor
    residual: Tensor
    gaze: Tensor

    @property
    def angles(self) -> tuple[Tensor, Tensor, Tensor]:
        """Yaw, pitch and roll of the head, each (B,) radians."""
        return euler_from_rotation(self.rotation)

    def pose(self, model: ShapeModel | None = None) -> Pose:
        """The pose with the landmarks' own zero of depth."""
        model = model or bundled()
        points = model.shape_points(self.shape, self.expression, self.residual)
        flat = Pose(self.rotation, self.scale, self.translation, torch.zeros_like(self.scale))
        depth = (self.landmarks - place(points, flat))[..., 2].mean(dim=1)
        return flat._replace(depth=depth)

    def moved(self, offset: Tensor) -> FaceGeometry:
        """The same with points moved by (B, 478, 3) in the canonical frame."""
        shift = self.scale[:, None, None] * offset @ self.rotation.mT
        return replace(self, landmarks=self.landmarks + shift, residual=self.residual + offset)


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


def measure(
    landmarks: Tensor, expression: Tensor, gaze: Tensor, model: ShapeModel | None = None
) -> FaceGeometry:
    """Take faces apart.

    Args:
        landmarks: (B, 478, 3) crop pixels.
        expression: (B, 52) in [0, 1].
        gaze: (B, 2, 2) radians.
        model: the shape model; the bundled one by default.
    """
    fit = (model or bundled()).fit(landmarks, expression)
    return FaceGeometry(
        landmarks,
        fit.shape,
        expression,
        fit.rotation,
        fit.scale,
        fit.translation,
        fit.residual,
        gaze,
    )


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
    values[:, _LOOK] = owner.expression[:, _LOOK]
    looks = _turned_gaze(owner, rotation)
    turn = torch.zeros_like(looks)
    if gaze is not None and owner is not gaze:
        rest = torch.zeros_like(gaze.gaze) if reference is None else reference.gaze
        turn = gaze.gaze - rest if relative else gaze.gaze - looks
    asked = looks.new_tensor([sliders.gaze_pitch, sliders.gaze_yaw])
    place_turn = (turn + LOOK_GAIN * asked).clamp(-1.0, 1.0)
    turn = (turn + asked).clamp(-1.0, 1.0)
    values, unturned = _look_values(values, turn), values

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
    extra = _lid_gain(values, unturned) + _slider_gain(values, unslid, sliders)
    if bool(extra.any()):
        offset = model.expression_offset(extra)
        landmarks = landmarks + target.scale[:, None, None] * offset @ rotation.mT
    landmarks = _with_irises(_lids_met(landmarks), owner, new, looks, place_turn)
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


def _lids_met(landmarks: Tensor) -> Tensor:
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


def _lid_gain(values: Tensor, before: Tensor) -> Tensor:
    """What the lids' gain adds to the change of the blendshapes (B, 52)."""
    extra = torch.zeros_like(values)
    extra[:, _FOLLOWED] = (LID_GAIN - 1) * (values - before)[:, _FOLLOWED]
    return extra


def _slider_gain(values: Tensor, before: Tensor, sliders: Sliders) -> Tensor:
    """What the sliders' gains add to the change of the blendshapes (B, 52)."""
    extra = torch.zeros_like(values)
    for name in sliders.expression:
        column = BLENDSHAPES.index(name)
        gain = SLIDER_GAIN.get(name, 1.0) - 1
        extra[:, column] = gain * (values[:, column] - before[:, column])
    return extra


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


def gaze_direction(gaze: Tensor) -> Tensor:
    """Unit vectors (..., 3) of angles (..., [pitch, yaw]), camera frame."""
    pitch, yaw = gaze[..., 0], gaze[..., 1]
    return torch.stack([pitch.cos() * yaw.sin(), -pitch.sin(), -pitch.cos() * yaw.cos()], dim=-1)


def _turned_gaze(owner: FaceGeometry, rotation: Tensor) -> Tensor:
    """Where the owner's eyes look when they turn along with the head."""
    if rotation is owner.rotation:
        return owner.gaze
    change = rotation @ owner.rotation.mT
    direction = gaze_direction(owner.gaze) @ change.mT
    pitch = torch.asin((-direction[..., 1]).clamp(-1, 1))
    return torch.stack([pitch, torch.atan2(direction[..., 0], -direction[..., 2])], dim=-1)


def _look_values(values: Tensor, turn: Tensor) -> Tensor:
    """Blendshapes after the eyes were turned by (B, 2, 2): the lids follow the look."""
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


def _mobile_weight(model: ShapeModel) -> Tensor:
    """(478,): where a face's residual belongs to its expression rather than to its identity."""
    mean = model.mean
    moving = [*LIPS_INNER, *LIPS_OUTER, *EYES[0], *EYES[1]]
    near = torch.cdist(mean, mean[moving]).min(dim=1).values
    return torch.exp(-0.5 * (near / 0.1).square())


def _with_irises(
    landmarks: Tensor, owner: FaceGeometry, pose: Pose, looks: Tensor, turn: Tensor
) -> Tensor:
    """Put the owner's irises into the result's eyes and turn them."""
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
