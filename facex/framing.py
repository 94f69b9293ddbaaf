# SPDX-License-Identifier: Apache-2.0
"""How much of a photo around a face an edit looks at: its crop, or the crop with room around it.

An aligned crop ends at the top of most heads and cuts long hair off. What the generator draws is
the crop; but the reference of a head, or of hair, that comes from another photo is made of wider
crops, of which the crop is the middle, and around it the reference is shown as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facex.ford.extractor import Extractor
from facex.fors.face_picture import FacePicture
from facex.fors.labels import without_specks
from facex.fors.morphology import disc
from facex.fors.reference_image import ReferenceImage
from facex.imaging.tensors import to_tensor
from facex.imaging.warp import Similarity, coverage, crop_image
from facex.locate import LocatedFace
from facex.recipes.plan import Plan
from facex.recipes.values import NONE, TARGET
from facex.types import PARSING_CLASSES, Region

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

WORN: Final = [PARSING_CLASSES.index(name) for name in ("hair", "hat")]
"""Classes of what heads wear and crops cut off."""
_SPREAD: Final = 0.06
"""How far beside where it leaves the crop hair may go on, in sides of the crop."""
_FADE: Final = 0.04
"""Width of the crop's border over which the generator's changes end, in sides of the crop."""


@dataclass(frozen=True)
class Framing:
    """What an edit looks at.

    Attributes:
        room: on every side of the crop, in its sides.
    """

    room: float

    def margin(self, crop: int) -> int:
        """Pixels of room on every side of a crop of so many pixels."""
        return round(self.room * crop)

    def side(self, crop: int) -> int:
        """Side of what is looked at around a crop of so many pixels."""
        return crop + 2 * self.margin(crop)

    def frame(self, face: LocatedFace, side: int) -> Similarity:
        """Maps what is looked at, at ``side`` px, to the photo."""
        crop = face.representation.crop_size
        margin = float(self.margin(crop))
        inner = Similarity.from_parts(scale=self.side(crop) / side, shift=(-margin, -margin))
        return face.photo_from_crop.compose(inner)

    def pixels(self, face: LocatedFace, side: int) -> Pixels:
        """What is looked at, cut from the photo: ``(side, side, 3)``."""
        return np.asarray(crop_image(face.photo, self.frame(face, side), side))

    def picture(self, face: LocatedFace, parser: Extractor, *, goes: bool) -> FacePicture:
        """A located face as the region assembler sees it.

        Args:
            face: to be shown.
            parser: provides ``parsing`` of crops; asked for what is around the crop.
            goes: its hair goes, with all of it; otherwise it comes, if it is surely hair.
        """
        own = picture_of(face)
        margin, side = self.margin(own.crop_size), self.side(own.crop_size)
        if margin == 0:
            return own
        points = own.landmarks + np.array([margin, margin, 0])
        read, _ = self.parse(face, parser)
        labels = cv2.resize(read, (side, side), interpolation=cv2.INTER_NEAREST)
        worn = np.isin(without_specks(own.parsing), WORN)
        doubtful = np.isin(labels, WORN[1:] if goes else WORN)
        labels[doubtful & ~_goes_on(worn, side)] = 0
        labels[margin:-margin, margin:-margin] = own.parsing
        shown = coverage(face.photo.shape[:2], self.frame(face, side), side, side) > 0.5
        # Beyond the photo's border its mirror image is seen, of which nothing is to be carried.
        labels = np.where(shown, labels, 0).astype(np.uint8)
        return FacePicture(self.pixels(face, side), points, labels, side, _extent(shown))

    def parse(self, face: LocatedFace, parser: Extractor) -> tuple[NDArray[np.uint8], Floats]:
        """What a parser says of what is looked at, and the landmarks of the face there.

        Args:
            face: in the middle.
            parser: provides ``parsing`` of crops.

        Returns:
            Labels ``(S, S)`` and points ``(478, 3)`` in their pixels; S is the crop's own size.
        """
        rep = face.representation
        size, margin = rep.crop_size, self.margin(rep.crop_size)
        seen = to_tensor(self.pixels(face, size)).to(face.crop)
        shift = rep.landmarks.new_tensor([margin, margin, 0])
        points = (rep.landmarks + shift) * (size / self.side(size))
        labels = parser(seen, {"landmarks": points})["parsing"][0].cpu().numpy()
        return labels, points[0].cpu().numpy()

    def middle(self, reference: ReferenceImage, crop: int) -> ReferenceImage:
        """The crop, of so many pixels, of a reference."""
        if self.room == 0:
            return reference
        part = slice(self.margin(crop), self.margin(crop) + crop)
        return replace(
            reference,
            image=np.ascontiguousarray(reference.image[part, part]),
            known=np.ascontiguousarray(reference.known[part, part]),
            edit=np.ascontiguousarray(reference.edit[part, part]),
            geometry=np.ascontiguousarray(reference.geometry[:, part, part]),
        )

    def put_around(self, inner: Tensor, outer: Tensor | None = None) -> Tensor:
        """A crop in what is looked at.

        Args:
            inner: ``(B, C, S, S)``.
            outer: ``(B, C, W, W)``, into which it fades; zeros by default.
        """
        if self.room == 0:
            return inner
        size = inner.shape[-1]
        if outer is None:
            side = self.side(size)
            outer = inner.new_zeros(*inner.shape[:2], side, side)
        steps = torch.minimum(torch.arange(size), torch.arange(size).flip(0)) / (size * _FADE)
        ramp = steps.clamp_max(1).to(inner)
        part = slice(self.margin(size), self.margin(size) + size)
        whole = outer.clone()
        before = whole[..., part, part]
        whole[..., part, part] = before + (inner - before) * torch.minimum(ramp[:, None], ramp)
        return whole


CROP: Final = Framing(0.0)
ROOMY: Final = Framing(0.25)
"""A parser of crops still reads heads that are so much smaller."""


def framing_of(plan: Plan) -> Framing:
    """How much a step looks at: more where hair comes from another picture."""
    hair = plan.pixels[Region.HAIR] not in (TARGET, NONE) and not plan.by_mask
    plain = plan.reference == "warped" and plan.place is None and plan.style is None
    return ROOMY if hair and plain else CROP


def picture_of(face: LocatedFace) -> FacePicture:
    """A located face as the region assembler sees it, its crop alone."""
    rep = face.representation
    image = ((face.crop[0].permute(1, 2, 0) + 1) / 2).float().numpy()
    return FacePicture(
        np.ascontiguousarray(image),
        rep.landmarks[0].double().numpy(),
        rep.parsing[0].numpy(),
        rep.crop_size,
    )


def _goes_on(part: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Where a part of a crop ``(S, S)`` may go on: in it, and outwards from where it leaves it.

    A dark ground around dark hair is called hair in the room alone, and would come along.
    """
    size = len(part)
    reach = cv2.dilate(part.astype(np.uint8), disc(round(_SPREAD * size))) > 0
    away = np.arange(side) + 0.5 - side / 2
    across, down = np.meshgrid(away, away)
    far = np.maximum(np.abs(across), np.abs(down))
    back = np.minimum(1, (size / 2 - 1) / np.maximum(far, 1))
    row, column = (np.floor(step * back + size / 2).astype(int) for step in (down, across))
    return (far < size / 2) | reach[row, column]


def _extent(shown: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what is shown along the middle row and column, as shares."""
    side = len(shown)
    across, down = (np.flatnonzero(line) for line in (shown[side // 2], shown[:, side // 2]))
    ends = across[0], down[0], across[-1] + 1, down[-1] + 1
    left, top, right, bottom = (float(end) / side for end in ends)
    return left, top, right, bottom
