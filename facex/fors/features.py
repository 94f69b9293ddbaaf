# SPDX-License-Identifier: Apache-2.0
"""Eyes, lids and mouth of the result: what a warp of the skin cannot make, painted over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facex.fors.eyes import Look, aim_eyes, paint_turned_eyes, recoloured_eyes, turned_irises
from facex.fors.face_picture import FacePicture
from facex.fors.lent_eyes import behind_glass, clear_eyes, lacks_eyes, murky_eyes, with_irises_of
from facex.fors.lids import shut_lids
from facex.fors.mouth_edit import ShownMouth, clear_mouth, mend_mouth
from facex.fors.region_masks import eye_openings
from facex.fors.relight import ColourMap
from facex.geometry.texture_map import scale_points
from facex.geometry.topology import Sides
from facex.recipes.plan import Plan
from facex.recipes.values import TARGET
from facex.types import Factor, Region

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass
class FeaturePainter:
    """Paints the features of one edit.

    Attributes:
        plan: which region comes from whom.
        pictures: decomposed pictures by name.
        pixels: the pixels that are shown of a picture, by its name.
        colours: how each picture is brought into the target's light, as far as that is known.
        result: ``(478, 3)`` mesh of the result in units of the target's crop.
        still: what is the target's own does not move.
        look: where the eyes shall look; without, their irises are placed by geometry alone.
        covered: (right, left) eyes that hair hides in the picture they come from.
        turn: how far the irises were turned for that look, once it was found.
    """

    plan: Plan
    pictures: Mapping[str, FacePicture]
    pixels: Callable[[str], Floats]
    colours: Mapping[str, ColourMap | None]
    result: Doubles
    still: bool
    look: Look | None = None
    covered: Sides = (False, False)
    turn: Floats | None = field(default=None, init=False)

    def paint(
        self, image: Floats, cover: Floats, regions: Mapping[Region, Floats]
    ) -> tuple[Floats, Floats]:
        """All features that the edit moves or that come from another picture.

        Args:
            image: ``(S, S, 3)`` in [0, 1].
            cover: ``(S, S)`` in [0, 1], how far the image is shown.
            regions: masks of the result, ``(S, S)``.
        """
        image, cover = self._turn_eyes(image, cover, regions)
        image, cover = self._shut_eyes(image, cover, regions)
        return self._mend_mouth(image, cover, regions)

    def _turn_eyes(
        self, image: Floats, cover: Floats, regions: Mapping[Region, Floats]
    ) -> tuple[Floats, Floats]:
        """Paint the eyes anew if the edit turns them: another's look where the target does."""
        name, size = self.plan.pixels[Region.EYES], image.shape[0]
        turned_in = self.plan.motion.turns_eyes or name != TARGET
        if not turned_in or name not in self.pictures:
            return image, cover
        pixels, own, place = self._features(name, size)
        light = self.colours.get(name)
        if light is not None:
            # As bright as the face around them: eyes in the source's own light would glow.
            pixels = recoloured_eyes(pixels, own, light.at(eye_openings(place, size)))
        picture = self.pictures[name]
        if self.look is not None:
            if self.turn is None:
                self.turn = aim_eyes(image, pixels, own, place, self.look, covered=self.covered)
            place = turned_irises(place, self.look.wanted, self.turn)
        turned, painted = paint_turned_eyes(
            image, pixels, own, place, self.turn, covered=self.covered
        )
        # Who asks for another's eyes alone gets them as they are.
        swapped = name != TARGET and self.plan.pixels[Region.SKIN] == name
        if swapped and self._target_acts and not self.plan.motion.turns_eyes:
            target, points, _ = self._features(TARGET, size)
            # Between lids that the source holds narrow and the target does not, or in deep shade.
            lender = self.pictures[TARGET]
            can = clear_eyes(lender) and not behind_glass(picture)
            if can and (lacks_eyes(own, place) or murky_eyes(picture, lender)):
                target = with_irises_of(target, points, pixels, own)
                turned, lent = paint_turned_eyes(turned, target, points, place, whole=True)
                painted = np.maximum(painted, lent)
        # Glasses stay before the eyes.
        share = 1 - np.clip(regions.get(Region.GLASSES, np.zeros_like(painted)), 0, 1)
        image = np.asarray(image + (turned - image) * share[..., None], np.float32)
        return image, np.maximum(cover, painted * share)

    def _shut_eyes(
        self, image: Floats, cover: Floats, regions: Mapping[Region, Floats]
    ) -> tuple[Floats, Floats]:
        """Lids of eyes that their photo shows open and the edit shuts."""
        name = self.plan.pixels[Region.EYES]
        if name not in self.pictures or (name == TARGET and self.still):
            return image, cover
        pixels, own, place = self._features(name, image.shape[0])
        own = own * (image.shape[0] / pixels.shape[0])
        return shut_lids(image, cover, own, place, regions.get(Region.GLASSES))

    def _mend_mouth(
        self, image: Floats, cover: Floats, regions: Mapping[Region, Floats]
    ) -> tuple[Floats, Floats]:
        """Teeth are not stretched, and whose mouth was shut gets some; shut lips have a shadow."""
        name, skin = self.plan.pixels[Region.LIPS], regions.get(Region.SKIN)
        if name not in self.pictures or (name == TARGET and self.still):
            return image, cover
        pixels, own, place = self._features(name, image.shape[0])
        mouth, lender = ShownMouth(pixels, own), None
        if name != TARGET and self._target_acts and clear_mouth(self.pictures[TARGET]):
            lender = ShownMouth(*self._features(TARGET, image.shape[0])[:2])
        return mend_mouth(image, cover, skin, mouth, place, lender, keep=name == TARGET)

    @property
    def _target_acts(self) -> bool:
        """The result has the target's expression and light, so that it can lend what shows them."""
        acts = not self.plan.motion.changes_expression
        return acts and self.plan.factors[Factor.LIGHT] == TARGET

    def _features(self, name: str, size: int) -> tuple[Floats, Doubles, Doubles]:
        """A picture's pixels, its landmarks in them, and those of the result."""
        picture, pixels = self.pictures[name], self.pixels(name)
        own = scale_points(np.asarray(picture.landmarks), pixels.shape[0] / picture.crop_size)
        place = scale_points(self.result, size / self.pictures[TARGET].crop_size)
        return pixels, np.asarray(own, np.float64), np.asarray(place, np.float64)
