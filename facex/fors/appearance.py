# SPDX-License-Identifier: Apache-2.0
"""How each picture of an edit looks in the result: in whose light, complexion and outline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facex.fors.complexion import SKIN, bare_skin, skin_in_hair, through_glasses, tone_of, toned
from facex.fors.even_light import EvenLight
from facex.fors.exposure import exposure_of
from facex.fors.face_picture import FacePicture
from facex.fors.fill import lit
from facex.fors.morphology import resized
from facex.fors.outline import without_ground
from facex.fors.region_masks import Masks, face_of, head_of, together
from facex.fors.relight import ColourMap, match_light
from facex.fors.veiled import NOTHING, Veiled, unveiled
from facex.geometry.folds import fold_shade
from facex.geometry.texture_map import scale_points
from facex.recipes.plan import Plan
from facex.recipes.values import TARGET
from facex.types import Factor, Region

Floats = NDArray[np.float32]

SPARE: Final = "spare"
"""Name of a picture that lends skin in place of the target, as training needs it."""


class Appearance:
    """Pixels of the pictures of one edit, as the result shall show them.

    Args:
        plan: which region comes from whom.
        pictures: decomposed pictures by name.
        masks: of their regions.
        portraits: what is shown of pictures instead of themselves, ``(s, s, 3)`` in [0, 1] each.
        veiled: what hair hides of the face whose brows come.
        expressions: by how much each picture's blendshapes ``(52,)`` change, of those that do.

    Attributes:
        colours: how each picture is brought into the target's light, once it was compared.
        even: what falls on one side of faces.
        bare: the target's bare skin ``(S, S)`` that takes another complexion, once it has.
    """

    def __init__(
        self,
        plan: Plan,
        pictures: Mapping[str, FacePicture],
        masks: Mapping[str, Masks],
        portraits: Mapping[str, Floats] | None = None,
        veiled: Veiled = NOTHING,
        expressions: Mapping[str, Floats] | None = None,
    ) -> None:
        self.plan, self.pictures, self.masks = plan, pictures, masks
        self.veiled = veiled
        self.expressions = dict(expressions or {})
        self.portraits = dict(portraits or {})
        self.colours: dict[str, ColourMap | None] = {}
        self.even = EvenLight()
        self.bare: Floats | None = None
        self._toned: Floats | None = None
        self._unveiled: dict[str, Floats] = {}
        self._folds: dict[str, Floats] = {}
        self._outlined: dict[str, Floats] = {}
        self._between: dict[str, Floats] = {}

    def follow(self, other: Appearance) -> None:
        """Take over what was found of the same pictures at another resolution."""
        self.colours.update(other.colours)
        self.expressions = other.expressions
        self.even.sides.update(other.even.sides)
        self.portraits = other.portraits

    def compare(self, name: str, face: Floats, skin: Floats, target: Floats, own: Floats) -> None:
        """Find how a picture is brought into the target's light, by the skin that both show.

        Args:
            name: of the picture.
            face: ``(S, S, 3)`` in [0, 1], the picture in the result's place.
            skin: ``(S, S)`` in [0, 1], where it shows skin.
            target: likewise, the target.
            own: likewise, its skin.
        """
        pictures = self.pictures
        self.colours[name] = match_light(
            face,
            np.asarray(skin, np.float32),
            target,
            np.asarray(own, np.float32),
            keep=self.plan.factors[Factor.TEXTURE] == name,
            exposures=(exposure_of(pictures[name]), exposure_of(pictures[TARGET])),
        )

    def tone(self) -> None:
        """Give the target's own bare skin the complexion of the face that is put into it."""
        tone = tone_of(self.colours.get(self.plan.pixels[Region.SKIN]))
        if tone is not None and self.plan.toned:
            target, masks = self.pictures[TARGET], self.masks[TARGET]
            self.bare = bare_skin(masks, self.skin_between(TARGET), self.plan.toned)
            self._toned = toned(target.pixels, self.bare, masks, tone)

    def pixels(self, name: str) -> Floats:
        """A picture's pixels, the target's with the complexion that they take on.

        A face whose expression changes has the folds of the new one.
        """
        pixels = self._without_folds(name)
        if name not in self.expressions or name in self.portraits:
            return pixels
        if name not in self._folds:
            picture, masks = self.pictures[name], self.masks[name]
            points = np.asarray(picture.landmarks, np.float64)
            shade = fold_shade(points, self.expressions[name], picture.crop_size)
            skin = together(masks, SKIN)
            self._folds[name] = resized(np.asarray(1 + (shade - 1) * skin), pixels.shape[0])
        return lit(pixels, self._folds[name][..., None])

    def _without_folds(self, name: str) -> Floats:
        if name == TARGET and self._toned is not None:
            return self._toned
        if name in self.portraits:
            return self.portraits[name]
        if name in (TARGET, SPARE) or self.plan.factors[Factor.LIGHT] != TARGET:
            return self.pictures[name].pixels
        pixels = self.even.pixels(name, self.pictures[name])
        return self._lift_hair(name, pixels) if name == self.plan.pixels[Region.BROWS] else pixels

    def _lift_hair(self, name: str, pixels: Floats) -> Floats:
        """What hair that stays behind hides of a face, drawn from its other half."""
        if name not in self._unveiled:
            picture, side = self.pictures[name], pixels.shape[0]
            points = scale_points(picture.landmarks, side / picture.crop_size)
            face = resized(face_of(self.masks[name]), side)
            self._unveiled[name] = unveiled(pixels, face, points, self.veiled)
        return self._unveiled[name]

    def outlined(self, name: str) -> Floats:
        """A picture's pixels without the ground that the outline of its head is mixed with."""
        if name not in self._outlined:
            masks = self.masks[name]
            body = head_of(masks)
            if name == TARGET:
                body = np.minimum(body + masks[Region.NECK] + masks[Region.CLOTH], 1)
            self._outlined[name] = without_ground(self.pixels(name), body)
        return self._outlined[name]

    def skin_between(self, name: str) -> Floats:
        """The share of skin ``(S, S)`` in a picture's hair."""
        if name not in self._between:
            self._between[name] = skin_in_hair(self.masks[name], self.pictures[name])
        return self._between[name]

    def recolour(
        self, name: str, layer: tuple[Region, ...], image: Floats, skin: Floats | None = None
    ) -> Floats:
        """A layer of a picture in the target's light; ``skin``: its share in hair, in place."""
        colours = self.colours.get(name)
        if colours is None:
            return image
        if layer[0] in (Region.HAIR, Region.HAT):
            plain = colours.plain().apply(image)
            if skin is None:
                return plain
            # Between hairs the head's own skin goes on, as its forehead does.
            return np.asarray(plain + (colours.apply(image) - plain) * skin[..., None], np.float32)
        relit = colours.apply(image)
        return relit if layer[0] != Region.GLASSES else through_glasses(image, relit, colours)
