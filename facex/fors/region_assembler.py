# SPDX-License-Identifier: Apache-2.0
"""phi^Inp's picture: the reference image, its known mask and the edit mask (DESIGN 4).

Regions are painted back to front, each from the picture that the plan names, carried to the
result's mesh. What nothing covers (an occluded brow, what a smaller head uncovers) stays unknown
and is the generator's to draw. Everything here works at any resolution: the same call with the
photos' original pixels gives the native reference of the correction at native resolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.fill import push_pull
from facex.fors.relight import ColourMap, match_light
from facex.geometry.shape_model import bundled
from facex.geometry.texture_map import (
    WarpField,
    apply_warp,
    mesh_warp,
    render_position_map,
    scale_points,
)
from facex.geometry.topology import FACE_OVAL, region_polygon_mask
from facex.recipes.plan import Plan
from facex.types import FACE_REGIONS, REGION_CLASSES, Factor, Region

Floats = NDArray[np.float32]
Points = NDArray[np.floating]

NONE: Final = "none"
TARGET: Final = "target"

LAYERS: Final[tuple[tuple[Region, ...], ...]] = (
    (Region.BACKGROUND, Region.CLOTH),
    (Region.NECK,),
    (Region.EARS,),
    FACE_REGIONS,
    (Region.HAIR,),
    (Region.GLASSES,),
    (Region.HAT,),
)
"""Painting order, back to front."""

MIRRORED_TRUST: Final = 0.45
"""How much the mirrored half counts as known; just above the threshold of being shown."""

STAYS_PUT: Final = frozenset({Region.BACKGROUND, Region.CLOTH})
"""Regions of the target that do not follow its head."""


@dataclass(frozen=True)
class FacePicture:
    """A decomposed picture as the assembler needs it.

    Attributes:
        image: ``(h, w, 3)`` RGB uint8 or float32 in [0, 1], the aligned crop at any resolution.
        landmarks: ``(478, 3)`` in units of ``crop_size``.
        parsing: ``(S, S)`` uint8 class ids, S = ``crop_size``.
        crop_size: side of the frame that landmarks and parsing live in.
    """

    image: NDArray[np.generic]
    landmarks: Points
    parsing: NDArray[np.uint8]
    crop_size: int

    @property
    def pixels(self) -> Floats:
        """The image as float32 in [0, 1]."""
        if self.image.dtype == np.uint8:
            return np.multiply(self.image, np.float32(1 / 255), dtype=np.float32)
        return self.image.astype(np.float32)


@dataclass(frozen=True)
class ReferenceImage:
    """What the generator starts from.

    Attributes:
        image: ``(H, W, 3)`` RGB float32 in [0, 1]; unknown pixels are filled smoothly.
        known: ``(H, W)`` in [0, 1].
        edit: ``(H, W)`` in [0, 1], what may change.
        geometry: ``(3, H, W)`` position map of the result's mesh in [-1, 1].
        colours: the colour map of each picture, to be used again at another resolution.
    """

    image: Floats
    known: Floats
    edit: Floats
    geometry: Floats
    colours: Mapping[str, ColourMap | None]


def region_masks(picture: FacePicture) -> dict[Region, Floats]:
    """Soft masks ``(S, S)`` of the regions of a picture, by parser and landmarks."""
    parsing, size = picture.parsing, picture.crop_size
    masks = {}
    for region, classes in REGION_CLASSES.items():
        if classes:
            masks[region] = np.isin(parsing, classes).astype(np.float32)
    # Other people's faces in the picture are not this face.
    near = _near_face(picture.landmarks, size)
    for region in FACE_REGIONS:
        if region in masks:
            masks[region] = masks[region] * near
    area = region_polygon_mask(picture.landmarks, "beard", size).astype(np.float32)
    lower = masks[Region.SKIN] * np.clip(area, 0, 1)
    masks[Region.BEARD] = lower
    masks[Region.SKIN] = masks[Region.SKIN] - lower
    return masks


class RegionAssembler:
    """Builds the reference of one edit.

    Args:
        pictures: decomposed pictures by name, always with ``target``.
        plan: which region comes from whom.
        result_landmarks: ``(478, 3)`` mesh of the result in units of the target's crop.
        mask: the user's mask ``(S, S)`` in [0, 1] when the plan edits by mask.
    """

    def __init__(
        self,
        pictures: Mapping[str, FacePicture],
        plan: Plan,
        result_landmarks: Points,
        mask: Floats | None = None,
    ) -> None:
        self.pictures, self.plan, self.mask = pictures, plan, mask
        self.target = pictures[TARGET]
        self.result = np.asarray(result_landmarks, np.float64)
        # Another person's shape alone moves nothing of what stays the target's.
        motion = plan.motion
        moves = motion.turns_head or motion.changes_expression or motion.turns_eyes
        own = np.asarray(self.target.landmarks, np.float64)
        self.still = not moves or np.array_equal(self.result, own)
        self.masks = {name: region_masks(picture) for name, picture in pictures.items()}
        for name, masks in self.masks.items():
            if name != TARGET:
                _trim_face(masks)
        self.colours: dict[str, ColourMap | None] = {}

    def assemble(self, size: int | None = None) -> ReferenceImage:
        """Paint the reference at ``size`` px (default: the crop's own size)."""
        size = self.target.crop_size if size is None else size
        target = _resized(self.target.pixels, size)
        carried = {name: self._carry(name, size) for name in self._origins()}
        colour, cover = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
        result_regions: dict[Region, Floats] = {}
        for layer in LAYERS:
            painted: dict[str, Floats] = {}
            for region in layer:
                name = self.plan.pixels[region]
                if name == NONE or name not in carried:
                    continue
                mask = self._region(name, region, carried[name], size)
                result_regions[region] = mask
                painted[name] = painted.get(name, np.float32(0)) + mask
            for name, mask in painted.items():
                area = np.minimum(mask, np.float32(1))
                image, shown = self._layer(name, layer, carried[name], target, size)
                alpha = area * shown
                colour = colour * (1 - area[..., None]) + image * alpha[..., None]
                # What is in front hides what is behind it even where it is not shown itself.
                cover = cover * (1 - area) + alpha
        edit = self._edit(result_regions, size)
        image = np.asarray(colour / np.maximum(cover, 1e-3)[..., None], np.float32)
        # Along borders the layers' soft masks cover a pixel only together: still known.
        known = np.clip((cover - 0.25) / 0.35, 0, 1)
        # What may not change is the target, whatever was painted.
        image = image * edit[..., None] + target * (1 - edit[..., None])
        known = np.where(edit < 1e-3, 1.0, known)
        if self.plan.reference != "warped":
            known = known * (edit < 1e-3)
        if self.plan.by_mask and self.mask is not None:
            known = known * (edit < 1e-3)
        known = known.astype(np.float32)
        image = push_pull(image.astype(np.float32), known)
        geometry = render_position_map(scale_points(self.result, size / self._crop), size)
        return ReferenceImage(image, known, edit, geometry, dict(self.colours))

    @property
    def _crop(self) -> int:
        return self.target.crop_size

    def _origins(self) -> list[str]:
        used = set(self.plan.pixels.values()) - {NONE}
        return [name for name in self.pictures if name in used]

    def _carry(self, name: str, size: int) -> WarpField | None:
        """The warp of a picture into the result; None: it stays where it is."""
        if name == TARGET and self.still:
            return None
        picture = self.pictures[name]
        return mesh_warp(
            # Both in the result's pixels: what stays in place has displacement 0 at every size.
            scale_points(np.asarray(picture.landmarks), size / picture.crop_size),
            scale_points(self.result, size / self._crop),
            size,
            anchor_far=name == TARGET,
        )

    def _region(self, name: str, region: Region, field: WarpField | None, size: int) -> Floats:
        mask = self.masks[name][region]
        if field is None or (name == TARGET and region in STAYS_PUT):
            return _resized(mask, size)
        return _drawn(field, mask)

    def _layer(
        self,
        name: str,
        layer: tuple[Region, ...],
        field: WarpField | None,
        target: Floats,
        size: int,
    ) -> tuple[Floats, Floats]:
        """Pixels of a picture in the result's place, and where they are really shown."""
        everywhere = np.ones((size, size), np.float32)
        if field is None or (name == TARGET and layer[0] in STAYS_PUT):
            return target, everywhere
        picture = self.pictures[name]
        image = _drawn(field, picture.pixels)
        shown = field.visible
        if layer == FACE_REGIONS:
            image, shown = self._mirror_hidden(name, field, image, size)
        if name != TARGET and self.plan.factors[Factor.LIGHT] == TARGET:
            image = self._recolour(name, layer, field, image, target, size)
        return image, shown

    def _mirror_hidden(
        self, name: str, field: WarpField, image: Floats, size: int
    ) -> tuple[Floats, Floats]:
        """Show the other half of the face where the source's own half is turned away.

        Faces are nearly symmetric, so the mirrored picture is a better guess than none; it counts
        as half known, for the generator to correct.
        """
        hidden = (field.inside > 0) * (1 - field.visible)
        if hidden.mean() < 0.004:
            return image, field.visible
        picture = self.pictures[name]
        side = picture.crop_size
        flipped = np.asarray(picture.landmarks)[_mirror()] * [-1.0, 1.0, 1.0] + [side, 0.0, 0.0]
        other = mesh_warp(
            scale_points(flipped, size / side),
            scale_points(self.result, size / self._crop),
            size,
            extend=False,
        )
        pixels = np.ascontiguousarray(picture.pixels[:, ::-1])
        skin = np.ascontiguousarray(self._face_mask(name)[:, ::-1])
        mirrored = _drawn(other, pixels)
        usable = other.visible * _drawn(other, skin)
        own = field.visible
        total = np.maximum(own + (1 - own) * usable, 1e-3)
        blend = (own / total)[..., None]
        both = np.asarray(image * blend + mirrored * (1 - blend), np.float32)
        return both, np.asarray(own + (1 - own) * usable * MIRRORED_TRUST, np.float32)

    def _face_mask(self, name: str) -> Floats:
        wanted = [r for r in FACE_REGIONS if self.plan.pixels[r] == name]
        masks = self.masks[name]
        return np.minimum(sum((masks[r] for r in wanted), np.zeros_like(masks[Region.SKIN])), 1)

    def _recolour(
        self,
        name: str,
        layer: tuple[Region, ...],
        field: WarpField,
        image: Floats,
        target: Floats,
        size: int,
    ) -> Floats:
        if name not in self.colours:
            skin = [Region.SKIN, Region.NOSE, Region.BEARD]
            shown = sum(self._region(name, region, field, size) for region in skin)
            own = sum(_resized(self.masks[TARGET][region], size) for region in skin)
            self.colours[name] = match_light(
                image, shown * field.visible, target, np.asarray(own, np.float32)
            )
        colours = self.colours[name]
        if colours is None:
            return image
        if layer == (Region.HAIR,) or layer == (Region.HAT,):
            # Hair keeps its own colour: only the strength of the light is taken over, in part.
            light = np.float32(1 + 0.5 * (np.clip(colours.scale[0], 0.8, 1.25) - 1))
            colours = ColourMap(np.array([light, 1, 1], np.float32), np.zeros(3, np.float32))
        return colours.apply(image)

    def _edit(self, result: Mapping[Region, Floats], size: int) -> Floats:
        if self.plan.by_mask and self.mask is not None:
            return _resized(self.mask, size)
        front = np.zeros((size, size), np.float32)
        edit = np.zeros((size, size), np.float32)
        own = self.masks[TARGET]
        for layer in LAYERS:
            for region in layer:
                if region in self.plan.edit:
                    now = result.get(region, np.zeros((size, size), np.float32))
                    edit = np.maximum(edit, np.maximum(now, _resized(own[region], size)))
                elif self.still and self.plan.pixels[region] == TARGET and layer in LAYERS[4:]:
                    # The target's own hair, glasses and hat stay in front of what is edited.
                    front = np.maximum(front, _resized(own[region], size))
        # Small parts need room: feathered inwards, an eye's own outline would keep the old iris.
        small = edit.mean() < 0.03
        grown = _grow(edit, max(1, round(size * (0.02 if small else 0.008))))
        return np.clip(grown * (1 - front), 0, 1)


def with_colours(assembler: RegionAssembler, colours: Mapping[str, ColourMap | None]) -> None:
    """Use the colour maps of another resolution, so that both references agree."""
    assembler.colours.update(colours)


def higher_resolution(
    pictures: Mapping[str, FacePicture], images: Mapping[str, NDArray[np.generic]]
) -> dict[str, FacePicture]:
    """The same pictures with other pixels of the same crop frames."""
    return {
        name: replace(picture, image=images.get(name, picture.image))
        for name, picture in pictures.items()
    }


def _trim_face(masks: dict[Region, Floats]) -> None:
    """Take the rim off a foreign face: it is mixed with hair, hat or background there."""
    face = np.minimum(sum(masks[region] for region in FACE_REGIONS), np.float32(1))
    radius = max(1, round(face.shape[0] * 0.012))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    inner = cv2.erode(face, kernel, borderType=cv2.BORDER_REPLICATE)
    for region in FACE_REGIONS:
        masks[region] = np.asarray(masks[region] * inner, np.float32)


def _near_face(landmarks: Points, size: int) -> Floats:
    """Where this face's own skin can be: its outline grown a little, and upwards to the hair."""
    points = np.asarray(landmarks, np.float64).copy()
    brow, chin = points[9, :2], points[152, :2]
    up = brow - chin
    oval = points[list(FACE_OVAL), :2]
    height = (oval - brow) @ up / (up @ up)
    # The mesh ends in the middle of the forehead; the hairline is up to half a face higher.
    oval = oval + np.outer(np.clip(height + 0.05, 0, None) * 2.2, up)
    centre = oval.mean(0)
    oval = centre + (oval - centre) * 1.14
    mask = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.round(oval - 0.5).astype(np.int32)), 1)
    return mask.astype(np.float32)


@cache
def _mirror() -> NDArray[np.int64]:
    return bundled().mirror.numpy()


def _drawn(field: WarpField, image: Floats) -> Floats:
    """An image of any resolution through a warp."""
    scale = image.shape[1] / field.source_size[1]
    return np.asarray(apply_warp(field, image, scale=scale), np.float32)


def _resized(image: Floats, size: int) -> Floats:
    if image.shape[0] == size and image.shape[1] == size:
        return image
    kind = cv2.INTER_AREA if size < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size, size), interpolation=kind), np.float32)


def _grow(mask: Floats, radius: int) -> Floats:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    grown = cv2.dilate(mask, kernel)
    soft = cv2.GaussianBlur(grown, (0, 0), max(0.6, radius * 0.5))
    # Cells whose share is small are outside: fusion needs a clear border.
    return np.where(soft < 0.02, 0.0, soft).astype(np.float32)
