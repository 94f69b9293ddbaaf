# SPDX-License-Identifier: Apache-2.0
"""A decomposed picture's regions as soft masks, by parser and landmarks (DESIGN 4).

Labels come with hard stairs and with specks (a wrinkle called a hat). Specks go to the label around
them, and borders follow the picture: a guided filter (He et al. 2010) lets strands of hair and the
rims of glasses keep their shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from facex.fors.beard import beardedness
from facex.geometry.extend import smoothstep
from facex.geometry.topology import EYES, FACE_OVAL, region_polygon_mask
from facex.types import FACE_REGIONS, PARSING_CLASSES, REGION_CLASSES, Region

Floats = NDArray[np.float32]
Points = NDArray[np.floating]

_OUTLINE: Final = 0.08
"""Width over which hair that the crop cuts off ends, in half sides."""
_SPECK: Final = 0.0022
"""Share of the picture below which a piece of skin, hair, hat or ground is a mistake."""
_LARGE_CLASSES: Final = tuple(
    PARSING_CLASSES.index(name)
    for name in ("background", "skin", "hair", "hat", "neck", "cloth", "eye_g")
)
_STRANDS: Final = 0.03
"""How far strands reach into a foreign forehead, as a share of the crop."""
_BESIDE: Final = 0.02
"""The same for hair beside the cheeks."""
_LINE: Final = 0.014
"""Radius up to which something thin is a line, as a share of the crop."""
_LINE_REACH: Final = 0.02
"""How far from hair and locks lines are looked for, as a share of the crop. Three times as far,
wrinkles went along, and of 40 swaps the cosine to the source was .497 instead of .508."""
_LINE_CONTRAST: Final = 0.08
"""Difference of grey from both sides from which on it is a strand rather than a pore."""
_SHADE: Final = (8.0, 16.0)
"""Differences from the skin around, CIELAB, that are shading, and that are hair or its shadow."""
_INNER: Final = 0.008
"""Width of a foreign face's rim that is mixed with what is beside it, as a share of the crop."""
_LASHES: Final = 0.02
"""How far lashes and creases reach around an eye, as a share of the crop."""
_RIM: Final = 0.06
"""How far inside of its outline a foreign face is doubted, as a share of the crop."""
_CONTRAST: Final = 38.0
"""Difference from the face's colour, CIELAB, that is nothing but shading."""
_NEARER: Final = 0.45
"""How much nearer to what lies beyond than to the face a doubted pixel must be."""
_DEEP: Final = 0.1
"""How far inside a lock is looked for that hangs over the face, as a share of the crop."""
_LIKE_HAIR: Final = 0.38
"""How much nearer to what lies beyond a pixel must be that is no longer on the rim."""
_STRANGE: Final = tuple(
    PARSING_CLASSES.index(name) for name in ("background", "hair", "hat", "cloth")
)
_SKIN, _HAIR, _CLOTH, _NECK = (
    PARSING_CLASSES.index(name) for name in ("skin", "hair", "cloth", "neck")
)
_HEAD: Final = tuple(
    PARSING_CLASSES.index(name)
    for name in ("skin", "l_brow", "r_brow", "l_ear", "r_ear", "ear_r", "hat", "eye_g")
)
_ONE_HAIR: Final = 20.0
"""Difference of a, b of CIELAB between pieces that cannot be one person's hair."""
_CONTACT: Final = 1.3
"""Pixels along the face, by the root of its area, of a piece of hair (measured: hair 1.7 to 9)."""
_HAIRS: Final = 0.02
"""How far the hairs of a beard reach beyond what the parser called clothes, in sides."""
_SOFT_RADIUS: Final = 0.012
"""Radius of the guided filter, as a share of the crop."""
_SOFT_FLOOR: Final = 4e-4
"""Variance of grey, in [0, 1] squared, below which a picture has no edge to follow."""


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


def region_masks(picture: FacePicture) -> dict[Region, Floats]:
    """Soft masks ``(S, S)`` of the regions of a picture, by parser and landmarks."""
    size = picture.crop_size
    parsing = _cloth_is_no_hair(without_specks(picture.parsing), picture)
    parsing = _beard_is_no_cloth(parsing)
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
    return _follow_edges(masks, picture)


def without_specks(parsing: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give pieces that are too small to be what they are called to the labels around them."""
    least = _SPECK * parsing.size
    wrong = np.zeros(parsing.shape, bool)
    for label in _LARGE_CLASSES:
        count, pieces, stats, _ = cv2.connectedComponentsWithStats(
            (parsing == label).astype(np.uint8), connectivity=8
        )
        wrongs = stats[:, cv2.CC_STAT_AREA] < least
        if label == _HAIR and count > 2:
            wrongs |= ~_on_head(pieces, count, parsing)
        small = np.flatnonzero(wrongs)
        small = small[small > 0]
        if len(small) and count > 1:
            wrong |= np.isin(pieces, small)
    if not wrong.any() or wrong.all():
        return parsing
    rows, columns = ndimage.distance_transform_edt(
        wrong, return_distances=False, return_indices=True
    )
    return np.asarray(parsing[rows, columns], np.uint8)


def _cloth_is_no_hair(parsing: NDArray[np.uint8], picture: FacePicture) -> NDArray[np.uint8]:
    """Hair has one colour: another piece that has quite another one is a collar or a shoulder."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats((parsing == _HAIR).astype(np.uint8))
    if count < 3:
        return parsing
    lab = cv2.cvtColor(_fit(picture.pixels, len(parsing)), cv2.COLOR_RGB2LAB)
    area = np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
    chroma = np.stack(
        [np.bincount(pieces.ravel(), lab[..., i].ravel(), count) / area for i in (1, 2)], -1
    )
    # Hair grows above the brows; clothes do not.
    above = np.bincount(pieces[: max(int(picture.landmarks[9, 1]), 0)].ravel(), minlength=count)
    hair = 1 + int(np.argmax(above[1:] if above[1:].any() else area[1:]))
    other = np.linalg.norm(chroma - chroma[hair], axis=-1) > _ONE_HAIR
    other[0] = False
    return np.where(other[pieces], np.uint8(_CLOTH), parsing)


def _beard_is_no_cloth(parsing: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Clothes touch a neck; what touches the face along its outline is a dark beard: skin, here."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats((parsing == _CLOTH).astype(np.uint8))
    near = cv2.dilate((parsing == _SKIN).astype(np.uint8), disc(1)) > 0
    beard = _along(near, pieces, stats[:, cv2.CC_STAT_AREA]) > _CONTACT
    beard[0] = False
    if not beard.any():
        return parsing
    # Its hairs reach further than it is drawn.
    grown = cv2.dilate(beard[pieces].astype(np.uint8), disc(round(_HAIRS * len(parsing)))) > 0
    return np.where(grown & np.isin(parsing, (_CLOTH, _NECK)), np.uint8(_SKIN), parsing)


def _on_head(
    pieces: NDArray[np.int32], count: int, parsing: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Which pieces of hair grow on the face, at an ear or under the hat; a dark collar does not."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(np.isin(parsing, _HEAD).astype(np.uint8))
    large = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])) if len(stats) > 1 else 0
    head = ((parts == large) & (parts > 0)).astype(np.uint8)
    near = cv2.dilate(head, disc(round(parsing.shape[0] * 0.008))) > 0
    area = np.bincount(pieces.ravel(), minlength=count)
    growing = _along(near, pieces, area) > _CONTACT
    # Curls hang down beside: the largest piece stays whatever it touches.
    growing[1 + int(np.argmax(area[1:]))] = True
    return np.asarray(growing)


def _along(
    near: NDArray[np.bool_], pieces: NDArray[np.int32], area: NDArray[np.integer]
) -> NDArray[np.floating]:
    """How far pieces are near something, in pixels by the root of their area."""
    contact = np.bincount(pieces[near], minlength=len(area))
    return np.asarray(contact / np.sqrt(np.maximum(area, 1)))


def _follow_edges(masks: dict[Region, Floats], picture: FacePicture) -> dict[Region, Floats]:
    """Soften the masks along the picture's own edges; what they sum up to stays."""
    size = picture.crop_size
    grey = cv2.cvtColor(_fit(picture.pixels, size), cv2.COLOR_RGB2GRAY)
    names = [name for name, mask in masks.items() if mask.any()]
    stack = np.stack([masks[name] for name in names], axis=-1)
    total = np.asarray(stack.sum(-1), np.float32)
    side = 2 * max(1, round(_SOFT_RADIUS * size)) + 1

    def mean(values: Floats) -> Floats:
        found = cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT)
        return np.asarray(found, np.float32).reshape(values.shape)

    centre = mean(grey)
    variance = np.asarray(mean(grey * grey) - centre * centre, np.float32)
    average = mean(stack)
    slope = np.asarray(mean(stack * grey[..., None]) - average * centre[..., None], np.float32)
    slope = np.asarray(slope / (variance + np.float32(_SOFT_FLOOR))[..., None], np.float32)
    offset = average - slope * centre[..., None]
    soft = np.clip(mean(slope) * grey[..., None] + mean(offset), 0, 1)
    # What is far from any border keeps its label exactly.
    soft = np.clip((soft - 0.04) / 0.92, 0, 1)
    soft *= (total / np.maximum(soft.sum(-1), 1e-3))[..., None]
    return masks | {name: np.ascontiguousarray(soft[..., i]) for i, name in enumerate(names)}


def _fit(image: Floats, size: int) -> Floats:
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.float32)


def trim_face(masks: dict[Region, Floats], picture: FacePicture, *, fringe: bool = False) -> None:
    """Take the rim off a foreign face: it is mixed with hair, hat or background there.

    Hair and hats that the crop cuts off end in a round outline instead of a straight one.

    Args:
        masks: of the regions, changed in place.
        picture: what they are masks of.
        fringe: its hair comes along, so strands on its forehead may.
    """
    face = np.minimum(sum(masks[region] for region in FACE_REGIONS), np.float32(1))
    whole = np.minimum(face + masks[Region.HAIR], np.float32(1)) if fringe else face
    inner = cv2.erode(whole, disc(round(face.shape[0] * _INNER)), borderType=cv2.BORDER_REPLICATE)
    outline = _round_outline(face.shape[0])
    for region in (Region.HAIR, Region.HAT):
        masks[region] = masks[region] * outline
    for region in FACE_REGIONS:
        masks[region] = np.asarray(masks[region] * inner, np.float32)
    if fringe:
        return
    foreign = _looks_foreign(inner, picture)
    bare = 1 - _strands(masks[Region.HAIR], foreign, inner, picture)
    strange = 1 - (1 - foreign) * bare
    # Beards look like the hair and the shadows beyond them, and are the face's own.
    shaven = np.float32(1 - beard_of(picture, masks))
    for region, share in ((Region.SKIN, np.float32(1)), (Region.BEARD, shaven)):
        own = np.asarray(inner * (1 - strange * share), np.float32)
        masks[region] = np.minimum(masks[region], own)


@cache
def _round_outline(size: int) -> Floats:
    """``(S, S)``, 1 well inside of a crop, 0 along its border and in its corners."""
    side = np.abs((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1)
    radius = np.sum(np.square(np.square(np.meshgrid(side, side))), axis=0) ** 0.25
    return smoothstep(0, _OUTLINE, 1 - radius)


def beard_of(picture: FacePicture, masks: dict[Region, Floats]) -> float:
    """How sure it is that a picture shows a beard, 0 to 1."""
    skin, jaw = masks[Region.SKIN], masks[Region.BEARD]
    return beardedness(_fit(picture.pixels, skin.shape[0]), skin, jaw)


def _strands(hair: Floats, foreign: Floats, face: Floats, picture: FacePicture) -> Floats:
    """Skin under single hairs and their shadows, which reach further than the parser's hair."""
    size = hair.shape[0]
    near, beside = (
        cv2.blur(cv2.dilate(hair, disc(round(size * reach))), (3, 3))
        for reach in (_STRANDS, _BESIDE)
    )
    points = np.asarray(picture.landmarks, np.float64)
    brow, chin = points[9, :2], points[152, :2]
    up = (brow - chin) / max(float(np.linalg.norm(brow - chin)), 1e-6)
    places = np.stack(np.meshgrid(*[np.arange(size) + 0.5] * 2), axis=-1)
    above = np.clip((places - brow) @ up / (size * _STRANDS) + 0.5, 0, 1)
    rim = np.maximum(near * above, beside) * _unlike_skin(face, picture)
    return np.maximum(rim, _lines_near(hair, foreign, picture), dtype=np.float32)


def _unlike_skin(face: Floats, picture: FacePicture) -> Floats:
    """0 where a pixel has the colour of the skin around it, 1 where it clearly has not."""
    size = face.shape[0]
    lab = cv2.cvtColor(_fit(picture.pixels, size), cv2.COLOR_RGB2LAB)
    solid = (face > 0.5).astype(np.float32)
    skin = np.asarray(_depth(solid) > size * _STRANDS, np.float32)
    away = np.linalg.norm(lab - _local_mean(lab, skin, _RIM * size), axis=-1)
    odd = np.clip((away - _SHADE[0]) / (_SHADE[1] - _SHADE[0]), 0, 1).astype(np.float32)
    # A strand is surrounded by a mixture.
    return np.asarray(cv2.blur(cv2.dilate(odd, disc(round(size * 0.006))), (3, 3)), np.float32)


def _lines_near(hair: Floats, foreign: Floats, picture: FacePicture) -> Floats:
    """Thin lines not far from hair: strands that lie on the skin, and the edges of locks."""
    size = hair.shape[0]
    grey = cv2.cvtColor(_fit(picture.pixels, size), cv2.COLOR_RGB2GRAY)
    kernel = disc(round(size * _LINE))
    # Lashes and the crease of a lid are thin and dark, too.
    eyes = cv2.dilate(eye_openings(picture.landmarks, size), disc(round(size * _LASHES)))
    contrast = np.maximum(
        cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, kernel),
        cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, kernel),
    )
    reach = cv2.dilate(np.maximum(hair, foreign), disc(round(size * _LINE_REACH)))
    lines = ((contrast > _LINE_CONTRAST) & (reach > 0.5) & (eyes < 0.5)).astype(np.float32)
    return np.asarray(cv2.blur(cv2.dilate(lines, disc(round(size * 0.008))), (3, 3)), np.float32)


def _looks_foreign(face: Floats, picture: FacePicture) -> Floats:
    """Pixels near the outline that look like what lies beyond it, rather than like the face.

    The parser calls a lock of hair under the ear, or the shadow beside a jaw, skin now and then;
    carried to another head it would be a bruise.
    """
    size = face.shape[0]
    lab = cv2.cvtColor(_fit(picture.pixels, size), cv2.COLOR_RGB2LAB)
    solid = (face > 0.5).astype(np.float32)
    depth = _depth(solid)
    rim, inside = (np.asarray(depth > size * far, np.float32) for far in (_RIM, _DEEP))
    # Ears and neck are the person's own skin, often in shadow: no evidence against a rim.
    strange = np.isin(picture.parsing, _STRANGE).astype(np.float32)
    outside = strange * (1 - cv2.dilate(face, disc(round(size * 0.012))))
    away = np.linalg.norm(lab - _local_mean(lab, inside, _RIM * size), axis=-1)
    # What lies beyond has many colours: any of them will do, the widest mean or the nearest.
    near = np.minimum.reduce(
        [
            np.linalg.norm(lab - _local_mean(lab, outside, reach * size), axis=-1)
            for reach in (_RIM, _RIM / 3)
        ]
    )
    nearer = np.where(rim > 0, np.float32(_LIKE_HAIR), np.float32(_NEARER))
    foreign = (face > 0) & (inside == 0) & (near < nearer * away) & (away > _CONTRAST)
    # A piece begins at the outline; freckles and wrinkles do not.
    foreign = cv2.morphologyEx(foreign.astype(np.uint8), cv2.MORPH_OPEN, disc(1))
    outline = (face > 0) & (cv2.erode(solid, disc(round(size * 0.008))) == 0)
    kept = reaching(foreign, outline).astype(np.float32)
    # A piece is surrounded by a mixture.
    return np.asarray(cv2.blur(cv2.dilate(kept, disc(round(size * 0.008))), (3, 3)), np.float32)


def _depth(solid: Floats) -> Floats:
    """How many pixels each pixel of a part ``(S, S)`` is from its outline; 0 outside."""
    found = cv2.distanceTransform((solid > 0).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(found, np.float32)


def _local_mean(image: Floats, part: Floats, reach: float) -> Floats:
    """Mean of ``(S, S, C)`` over the pixels of a part within reach; of all, if none is."""
    side = 2 * round(reach * 1.5) + 1
    weight = cv2.blur(part, (side, side)) + np.float32(1e-4)
    total = (image * part[..., None]).sum((0, 1)) / max(float(part.sum()), 1.0)
    near = cv2.blur(image * part[..., None], (side, side)) + total * np.float32(1e-4)
    return np.asarray(near / weight[..., None], np.float32)


def disc(radius: int) -> NDArray[np.uint8]:
    """A round kernel of a radius in pixels, at least 1."""
    radius = max(1, radius)
    shape = (2 * radius + 1, 2 * radius + 1)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, shape), np.uint8)


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


def reaching(part: NDArray[np.uint8], place: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected pieces of a part ``(S, S)`` that reach a place."""
    _, pieces = cv2.connectedComponents(part, connectivity=8)
    there = np.unique(pieces[place])
    return np.isin(pieces, there[there > 0])


def grow(mask: Floats, radius: int) -> Floats:
    """A mask grown by pixels, its border soft and ending for good."""
    grown = cv2.dilate(mask, disc(radius))
    soft = cv2.GaussianBlur(grown, (0, 0), max(0.6, radius * 0.5))
    # Cells whose share is small are outside: fusion needs a clear border.
    return np.where(soft < 0.02, 0.0, soft).astype(np.float32)


def eye_openings(points: NDArray[np.floating], size: int) -> Floats:
    """Where the eyes are open: ``(S, S)`` in [0, 1], soft over about a pixel.

    Args:
        points: ``(478, 3)`` landmarks in pixels.
        size: side of the picture.
    """
    mask = np.zeros((size, size), np.uint8)
    for eye in EYES:
        ring = np.round(np.asarray(points)[list(eye), :2] * 16 - 8).astype(np.int32)
        cv2.fillPoly(mask, [cv2.convexHull(ring)], 255, shift=4, lineType=cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), size / 256) / 255.0, np.float32)


def resized(image: Floats, size: int) -> Floats:
    """A square picture or mask at another side; shrinking averages."""
    if image.shape[0] == size and image.shape[1] == size:
        return image
    kind = cv2.INTER_AREA if size < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size, size), interpolation=kind), np.float32)
