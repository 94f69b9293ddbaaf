# SPDX-License-Identifier: Apache-2.0
"""Recipe step -> plan: every token, region and part of the geometry with the picture it is from.

The rules by which a short recipe becomes explicit (DESIGN 4, 5, 7):

* *Regions.* A region that ``regions`` does not name follows a factor (``FACTOR_REGIONS``):
  brows, eyes, nose and lips the identity, skin and beard the texture, hair the hair;
  backdrop, neck and clothes (the body) the background. Ears, glasses and hat stay the target's.
  Pixels and region tokens always have the same origin.
* *Geometry.* Shape follows the identity as soon as one region of the face is not the target's
  own; an identity that only guides (all the face's pixels are the target's) leaves the shape.
  ``none`` has no geometry: the target's is used.
* *Gaze.* The target's own gaze is kept eye in head, so it turns with the head; that of another
  picture is a direction in the camera frame.
* *What may change* (``edit: auto``). A region that is not the target's: itself. Identity,
  texture, expression: the face. Pose: the head. Gaze: the eyes. Light: what it falls on, head
  and neck. A placed picture: the region it becomes. A style: all. Always the union of the regions
  where the target has them and where the result will have them, so what a turned head or shorter
  hair uncovers belongs to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from facex.ford.representation import region_input
from facex.recipes.schema import Guidance, Place, Recipe, Sliders, Step, expand_all
from facex.recipes.values import NONE, TARGET, DriveMode, PlaceKind, Reference
from facex.types import FACE_REGIONS, HEAD_REGIONS, REGIONS, Factor, Region

FACTOR_REGIONS: Final[Mapping[Factor, tuple[Region, ...]]] = MappingProxyType(
    {
        Factor.IDENTITY: (Region.BROWS, Region.EYES, Region.NOSE, Region.LIPS),
        Factor.TEXTURE: (Region.SKIN, Region.BEARD),
        Factor.HAIR: (Region.HAIR,),
        Factor.BACKGROUND: (Region.BACKGROUND, Region.NECK, Region.CLOTH),
    }
)
"""Regions that come from a factor's picture unless a recipe says otherwise."""

FACTOR_EDITS: Final[Mapping[Factor, tuple[Region, ...]]] = MappingProxyType(
    {
        Factor.IDENTITY: FACE_REGIONS,
        Factor.TEXTURE: FACE_REGIONS,
        Factor.EXPRESSION: FACE_REGIONS,
        Factor.POSE: HEAD_REGIONS,
        Factor.GAZE: (Region.EYES,),
        Factor.LIGHT: (*HEAD_REGIONS, Region.NECK),
    }
)
"""What may change when a factor does; hair and background act through their regions."""

PLACE_REGIONS: Final[Mapping[PlaceKind, Region]] = MappingProxyType(
    {
        PlaceKind.GLASSES: Region.GLASSES,
        PlaceKind.MOUSTACHE: Region.BEARD,
        PlaceKind.BEARD: Region.BEARD,
    }
)
"""The region that a placed picture becomes."""

SHAPED: Final = (Region.BROWS, Region.EYES, Region.NOSE, Region.LIPS)
"""Regions whose shape comes along with their pixels."""

_TOKEN_FACTORS: Final = (
    Factor.IDENTITY,
    Factor.POSE,
    Factor.EXPRESSION,
    Factor.GAZE,
    Factor.TEXTURE,
    Factor.LIGHT,
)


@dataclass(frozen=True)
class Motion:
    """The geometry of the result: parts from pictures, and numbers on top. Radians.

    Attributes:
        shape: picture of the face shape (identity coefficients and residual).
        features: pictures of the shape of single features that have another one.
        head: picture of the whole head, hair and skin.
        pose: picture of the rotation of the head.
        expression: picture of the expression coefficients.
        gaze: picture of the gaze; the target's is eye in head, another's in the camera frame.
        relative: whether pose, expression and gaze of another picture are added to the target's
            instead of replacing them.
        yaw: added, + the subject looks to the picture's right.
        pitch: added, + up.
        roll: added, + clockwise.
        gaze_yaw: added to both eyes.
        gaze_pitch: added to both eyes.
        blendshapes: set to their value, 0 to 1.
    """

    shape: str = TARGET
    features: Mapping[Region, str] = field(default_factory=dict)
    head: str = TARGET
    pose: str = TARGET
    expression: str = TARGET
    gaze: str = TARGET
    relative: bool = False
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    gaze_yaw: float = 0.0
    gaze_pitch: float = 0.0
    blendshapes: Mapping[str, float] = field(default_factory=dict)

    @property
    def turns_head(self) -> bool:
        """Whether the pose is not the target's."""
        return self.pose != TARGET or bool(self.yaw or self.pitch or self.roll)

    @property
    def changes_expression(self) -> bool:
        """Whether the expression is not the target's."""
        return self.expression != TARGET or bool(self.blendshapes)

    @property
    def turns_eyes(self) -> bool:
        """Whether the eyes move in the head."""
        return self.gaze != TARGET or bool(self.gaze_yaw or self.gaze_pitch)

    @property
    def is_still(self) -> bool:
        """Whether the mesh of the result is that of the target."""
        moves = self.turns_head or self.changes_expression or self.turns_eyes
        return self.shape == TARGET and not self.features and not moves


@dataclass(frozen=True)
class Plan:
    """A step with nothing left to decide.

    Attributes:
        factors: picture (or ``none``) per factor; hair is that of the region.
        tokens: picture (or ``none``: the null token) per token input, in the order of
            ``ford.representation.TOKEN_INPUTS``.
        driven: token inputs that are computed from the geometry of the result, because numbers
            or a relative driver change what the picture gives.
        pixels: picture (or ``none``: left unknown) whose pixels the reference shows, per region.
        motion: the geometry of the result.
        edit: regions that may change: the union of where the target and the result have them.
            All when ``by_mask``.
        by_mask: whether the user's mask says what may change.
        mask: file of that mask; None: the caller hands it over.
        is_identity: nothing is asked for; the caller returns the photo's own bytes.
        reference: how the reference image is made.
        style: name of a personalised base.
        place: an attribute picture that is no face.
        kappa: 0 to 1, factor on the confidence in the reference.
        strength: 0 to 1, or None for the model's own.
        guidance: strengths per factor group.
        seed: or None for the caller's.
        steps: sampling steps, or None for the model's own.
    """

    factors: Mapping[Factor, str]
    tokens: Mapping[str, str]
    driven: frozenset[str]
    pixels: Mapping[Region, str]
    motion: Motion
    edit: frozenset[Region]
    by_mask: bool
    mask: Path | None
    is_identity: bool
    reference: Reference
    style: str | None
    place: Place | None
    kappa: float
    strength: float | None
    guidance: Guidance
    seed: int | None
    steps: int | None

    @property
    def toned(self) -> frozenset[Region]:
        """Bare skin of the target beside another's face: it takes on that face's complexion."""
        owner = self.pixels[Region.SKIN]
        keeps = self.factors[Factor.TEXTURE] == owner and self.factors[Factor.LIGHT] == TARGET
        if owner in (TARGET, NONE) or not keeps or self.by_mask or self.reference != "warped":
            return frozenset()
        return frozenset(r for r in (Region.NECK, Region.EARS) if self.pixels[r] == TARGET)

    @property
    def is_placed(self) -> bool:
        """Whether every part of the reference is placed or filled from photos."""
        return not self.by_mask and self.reference == "warped"

    @property
    def edits_hair(self) -> bool:
        """Whether hair may change, and with it the head's outline."""
        return Region.HAIR in self.edit

    @property
    def fills_a_hole(self) -> bool:
        """Whether all that goes under the user's mask is the photo's own, and nothing moves."""
        own = set(self.pixels.values()) <= {TARGET, NONE} and self.place is None
        return own and self.by_mask and self.motion.is_still

    @property
    def borrows_a_face(self) -> bool:
        """Whether somebody's face or head goes into another picture; motion alone does not count.

        What is only placed (glasses, a beard) is nobody's face.
        """
        own = {TARGET, NONE, *([self.place.picture] if self.place is not None else [])}
        named = {self.factors[Factor.IDENTITY], *(self.pixels[region] for region in HEAD_REGIONS)}
        return bool(named - own)

    @property
    def faces(self) -> frozenset[str]:
        """Pictures that must be decomposed: all but ``none`` and what is only placed."""
        motion = self.motion
        used = {
            motion.shape,
            *motion.features.values(),
            motion.pose,
            motion.expression,
            motion.gaze,
            TARGET,
        }
        return frozenset((used | {*self.tokens.values(), *self.pixels.values()}) - {NONE})


def plan_recipe(recipe: Recipe) -> tuple[Plan, ...]:
    """The plans of all steps, in order."""
    return tuple(plan_step(step) for step in recipe.steps)


def plan_step(step: Step) -> Plan:
    """Resolves a step by the rules above; never fails for a valid step."""
    pixels = _pixels(step)
    factors = {factor: step.origin(factor) for factor in Factor}
    # A region is the finer word: who takes the hair from X takes the hair factor from X.
    factors[Factor.HAIR] = pixels[Region.HAIR]
    tokens = {factor.value: factors[factor] for factor in _TOKEN_FACTORS}
    tokens |= {region_input(region): pixels[region] for region in REGIONS}
    motion = _motion(step, pixels)
    by_mask = step.edit == "mask" or (step.edit == "auto" and step.mask is not None)
    touched = _touched(step, factors, pixels, motion)
    return Plan(
        factors=factors,
        tokens=tokens,
        driven=_driven(motion),
        pixels=pixels,
        motion=motion,
        edit=_edit(step, touched, by_mask=by_mask),
        by_mask=by_mask,
        mask=step.mask,
        is_identity=not touched and not by_mask,
        reference=step.reference,
        style=step.style,
        place=step.place,
        kappa=step.kappa,
        strength=step.strength,
        guidance=step.guidance,
        seed=step.seed,
        steps=step.steps,
    )


def _pixels(step: Step) -> dict[Region, str]:
    pixels = dict.fromkeys(REGIONS, TARGET)
    for factor, regions in FACTOR_REGIONS.items():
        pixels.update(dict.fromkeys(regions, step.origin(factor)))
    return {**pixels, **step.region_origins()}


def _motion(step: Step, pixels: Mapping[Region, str]) -> Motion:
    own_face = all(pixels[region] == TARGET for region in FACE_REGIONS)
    sliders: Sliders = step.sliders
    shape = TARGET if own_face else _or_target(step.identity)
    whole = pixels[Region.HAIR] == pixels[Region.SKIN] == shape
    return Motion(
        head=shape if whole else TARGET,
        shape=shape,
        features={r: pixels[r] for r in SHAPED if pixels[r] not in (shape, NONE)},
        pose=_or_target(step.pose),
        expression=_or_target(step.expression),
        gaze=_or_target(step.gaze),
        relative=sliders.mode is DriveMode.RELATIVE,
        yaw=math.radians(sliders.yaw),
        pitch=math.radians(sliders.pitch),
        roll=math.radians(sliders.roll),
        gaze_yaw=math.radians(sliders.gaze_yaw),
        gaze_pitch=math.radians(sliders.gaze_pitch),
        blendshapes=dict(sliders.blendshapes),
    )


def _or_target(origin: str) -> str:
    return TARGET if origin == NONE else origin


def _driven(motion: Motion) -> frozenset[str]:
    """Tokens of motion that no picture has as they are."""
    driven = set()
    if motion.yaw or motion.pitch or motion.roll or (motion.relative and motion.pose != TARGET):
        driven.add(Factor.POSE.value)
    if motion.blendshapes or (motion.relative and motion.expression != TARGET):
        driven.add(Factor.EXPRESSION.value)
    carried = motion.turns_head and (motion.gaze == TARGET or motion.relative)
    turned = motion.gaze_yaw or motion.gaze_pitch or (motion.relative and motion.gaze != TARGET)
    if carried or turned:
        driven.add(Factor.GAZE.value)
    return frozenset(driven)


def _touched(
    step: Step, factors: Mapping[Factor, str], pixels: Mapping[Region, str], motion: Motion
) -> frozenset[Region]:
    """The regions that the step changes, whatever ``edit`` allows."""
    if step.style is not None:
        return frozenset(REGIONS)
    touched = {region for region, origin in pixels.items() if origin != TARGET}
    changed = {factor for factor, origin in factors.items() if origin != TARGET}
    if motion.turns_head:
        changed.add(Factor.POSE)
    if motion.changes_expression:
        changed.add(Factor.EXPRESSION)
    if motion.turns_eyes:
        changed.add(Factor.GAZE)
    for factor in changed:
        touched.update(FACTOR_EDITS.get(factor, ()))
    if step.place is not None:
        touched.add(PLACE_REGIONS[step.place.kind])
    return frozenset(touched)


def _edit(step: Step, touched: frozenset[Region], *, by_mask: bool) -> frozenset[Region]:
    if by_mask:
        return frozenset(REGIONS)
    return touched if step.edit == "auto" else expand_all(step.edit)
