# SPDX-License-Identifier: Apache-2.0
"""Recipes: what comes from whom (DESIGN 7), as validated, frozen models.

Angles are degrees here, as on the command line; ``plan`` turns them into radians. Every value is
checked without coercion: a text is no number and ``true`` is not 1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from facex.recipes.values import (
    NONE,
    TARGET,
    WELL_KNOWN,
    DriveMode,
    Edit,
    FilePath,
    Flag,
    FullTurn,
    HalfTurn,
    Origin,
    PhotoName,
    PlaceKind,
    Reference,
    RegionKey,
    Text,
    Unit,
    at,
    check_blendshapes,
    choice_of,
    number,
    whole,
    wrong,
)
from facex.types import REGION_GROUPS, Factor, Region

FORMAT_VERSION: Final = 1


class Model(BaseModel):
    """Base of all recipe models: frozen, no unknown keys, no infinite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Sliders(Model):
    """Numbers in place of a picture.

    Angles are turned *on top of* what the factor's picture gives, so 0 changes nothing.
    Blendshapes are *set* to their value, so only those named change.

    Attributes:
        yaw: degrees, + the subject looks to the picture's right.
        pitch: degrees, + up.
        roll: degrees, + clockwise in the picture.
        gaze_yaw: degrees, both eyes, sign as ``yaw``.
        gaze_pitch: degrees, both eyes, sign as ``pitch``.
        blendshapes: value 0 to 1 by name (``types.BLENDSHAPES``).
        mode: how pose, expression and gaze of another picture act: ``absolute`` replaces the
            target's, ``relative`` is added to it.
    """

    yaw: HalfTurn = 0.0
    pitch: HalfTurn = 0.0
    roll: FullTurn = 0.0
    gaze_yaw: HalfTurn = 0.0
    gaze_pitch: HalfTurn = 0.0
    blendshapes: Annotated[dict[str, Unit], BeforeValidator(check_blendshapes)] = {}
    mode: Annotated[DriveMode, choice_of(DriveMode)] = DriveMode.ABSOLUTE


class Place(Model):
    """A picture of glasses, a moustache or a beard to put on the face.

    Attributes:
        picture: name of the picture, transparent or on a plain background.
        kind: what it shows.
    """

    picture: PhotoName
    kind: Annotated[PlaceKind, choice_of(PlaceKind)]


class Guidance(Model):
    """Strength of classifier-free guidance per factor group (DESIGN 6); None: the model's own."""

    identity: Annotated[float, number(0, 20), Field(ge=0, le=20)] | None = None
    motion: Annotated[float, number(0, 20), Field(ge=0, le=20)] | None = None
    region: Annotated[float, number(0, 20), Field(ge=0, le=20)] | None = None


class Step(Model):
    """One edit. ``target`` is the photo, or from the second step on the result so far.

    Attributes:
        identity: picture of the shape of the face and, unless ``regions`` say otherwise, of
            brows, eyes, nose and lips.
        pose: picture of the head pose.
        expression: picture of the expression.
        gaze: picture of the direction of the eyes.
        texture: picture of the albedo and, unless ``regions`` say otherwise, of skin and beard.
        hair: picture of the hair.
        light: picture of the light.
        background: picture of the surroundings: backdrop, neck and clothes (the body).
        regions: picture per region or group (the narrower one counts); ``none`` cuts out.
        sliders: numbers in place of pictures.
        edit: what may change: regions or groups, ``mask`` (the user's), or ``auto``: whatever
            the recipe touches.
        mask: file of the user's mask, white where the photo may change; None with
            ``edit: mask``: the caller hands it over.
        reference: how the reference image is made.
        style: name of a personalised base that draws instead.
        place: an attribute picture that is no face.
        strength: 0 to 1, how far from the reference sampling begins; None: the model's own.
        kappa: 0 to 1, factor on the confidence in the reference (DESIGN 6, anchored prediction).
        guidance: strengths per factor group.
        seed: None: the caller's.
        steps: sampling steps; None: the model's own.
    """

    identity: Origin = TARGET
    pose: Origin = TARGET
    expression: Origin = TARGET
    gaze: Origin = TARGET
    texture: Origin = TARGET
    hair: Origin = TARGET
    light: Origin = TARGET
    background: Origin = TARGET
    regions: dict[RegionKey, Origin] = {}
    sliders: Sliders = Sliders()
    edit: Edit = "auto"
    mask: FilePath | None = None
    reference: Annotated[Reference, choice_of(Reference)] = Reference.WARPED
    style: Text | None = None
    place: Place | None = None
    strength: Unit | None = None
    kappa: Unit = 1.0
    guidance: Guidance = Guidance()
    seed: Annotated[int, whole(0, 2**63 - 1), Field(ge=0)] | None = None
    steps: Annotated[int, whole(1, 1000), Field(ge=1, le=1000)] | None = None

    @model_validator(mode="after")
    def _mask_is_used(self) -> Self:
        if self.mask is not None and self.edit not in ("auto", "mask"):
            expected = "mask, because the step has a mask file"
            raise at(("edit",), wrong(expected, found=self.edit))
        return self

    def origin(self, factor: Factor) -> str:
        """The picture that a factor comes from, as written."""
        return str(getattr(self, factor.value))

    def region_origins(self) -> dict[Region, str]:
        """The regions named by ``regions``, groups taken apart; the narrower entry counts."""
        found: dict[Region, str] = {}
        for key in sorted(self.regions, key=lambda key: -len(expand(key))):
            found.update(dict.fromkeys(expand(key), self.regions[key]))
        return found

    def uses(self) -> dict[tuple[str, ...], str]:
        """Every mention of a picture: its key path in the step, and the name."""
        used: dict[tuple[str, ...], str] = {(f.value,): self.origin(f) for f in Factor}
        used |= {("regions", key): origin for key, origin in self.regions.items()}
        if self.place is not None:
            used[("place", "picture")] = self.place.picture
        return {path: name for path, name in used.items() if name != NONE}


class OutputOptions(Model):
    """How the result is written.

    Attributes:
        quality: 1 to 100, for formats that lose something.
        mark: whether the invisible mark of generated pictures is set.
    """

    quality: Annotated[int, whole(1, 100), Field(ge=1, le=100)] = 95
    mark: Flag = True


class Recipe(Model):
    """A complete edit: pictures by name, and steps one after the other.

    Attributes:
        format_version: of the recipe format.
        name: for people.
        photos: file of each picture; pictures may also be handed over by the caller under the
            names ``target``, ``source`` and ``driver``.
        steps: at least one.
        output: how the result is written.

    Raises:
        pydantic.ValidationError: from the constructor; ``load`` and ``for_task`` raise
            ``RecipeError`` instead.
    """

    format_version: Annotated[int, whole(1, FORMAT_VERSION)] = FORMAT_VERSION
    name: Text | None = None
    photos: dict[PhotoName, FilePath] = {}
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=100)]
    output: OutputOptions = OutputOptions()

    @model_validator(mode="after")
    def _pictures_exist(self) -> Self:
        known = dict.fromkeys((*WELL_KNOWN, *self.photos))
        for index, step in enumerate(self.steps):
            for path, name in step.uses().items():
                if name not in known:
                    expected = f"the name of a picture ({', '.join(known)}) or none"
                    error = wrong(expected, found=name, allowed=known)
                    raise at(("steps", index, *path), error)
        return self

    def pictures(self) -> frozenset[str]:
        """Names of all pictures that the recipe uses; always with ``target``."""
        return frozenset({TARGET}.union(*(step.uses().values() for step in self.steps)))

    @classmethod
    def for_task(
        cls,
        task: str,
        *,
        given: Collection[str] = (),
        chosen: Collection[str] = (),
        photos: dict[str, Path] | None = None,
        **overrides: Any,
    ) -> Recipe:
        """The one-step recipe of a row of the task table.

        Args:
            task: name of a row of ``tasks.task_table()``.
            given: names of optional pictures that the caller will hand over (``source``,
                ``driver``); optional ones that are not given are replaced by the target.
            chosen: regions or groups for rows that let the user choose.
            photos: files of pictures, as in ``Recipe.photos``; they count as given.
            overrides: fields of ``Step`` that differ from the row.

        Raises:
            RecipeError: when the task is unknown, something it needs is missing, or an override
                is not valid.
        """
        from facex.recipes.tasks import recipe_for_task  # the table is made of these models

        return recipe_for_task(task, given, chosen, photos or {}, overrides)


def expand(key: str) -> tuple[Region, ...]:
    """The regions of a group, or the one region of that name."""
    return REGION_GROUPS[key] if key in REGION_GROUPS else (Region(key),)


def expand_all(keys: Iterable[str]) -> frozenset[Region]:
    """All regions named by regions and groups."""
    return frozenset(region for key in keys for region in expand(key))
