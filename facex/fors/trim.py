# SPDX-License-Identifier: Apache-2.0
"""The rim of a foreign face, mixed with hair, a hat or the ground there, taken off (DESIGN 4)."""

from __future__ import annotations

from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.beard import beardedness
from facex.fors.face_picture import FacePicture
from facex.fors.layers import WORN
from facex.fors.lids import lid_area
from facex.fors.morphology import depth, disc, local_mean, pixel_places, reaching, resized
from facex.fors.region_masks import Masks, eye_openings, face_of
from facex.geometry.extend import smoothstep
from facex.geometry.topology import CHIN, EACH, GLABELLA
from facex.types import FACE_REGIONS, PARSING_CLASSES, REGION_CLASSES, Region

Floats = NDArray[np.float32]

_OUTLINE: Final = 0.08
"""Width over which hair that the crop cuts off ends, in half sides."""
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
_STRAND_CONTRAST: Final = 0.1
"""The same for dark lines that go on from there over a forehead."""
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
_SHADOW: Final = (6.0, 14.0)
"""How much darker than the face, in L*, a forehead below a hat may be in shadow, and surely is."""
_SHADOW_EDGE: Final = 0.012
"""Softness of the shadow's edge, as a share of the crop."""
_DEEP: Final = 0.1
"""How far inside a lock is looked for that hangs over the face, as a share of the crop."""
_LIKE_HAIR: Final = 0.38
"""How much nearer to what lies beyond a pixel must be that is no longer on the rim."""
_OVER_LIDS: Final = 0.08
"""Share of the lids of an eye from which on hair hangs over it."""
_HAIR: Final = PARSING_CLASSES.index("hair")
_STRANGE: Final = tuple(
    PARSING_CLASSES.index(name) for name in ("background", "hair", "hat", "cloth")
)


def trim_face(masks: Masks, picture: FacePicture, *, fringe: bool = False) -> None:
    """Take the rim off a foreign face: it is mixed with hair, hat or background there.

    Hair and hats that the crop cuts off end in a round outline instead of a straight one.

    Args:
        masks: of the regions, changed in place.
        picture: what they are masks of.
        fringe: its hair comes along, so strands on its forehead may.
    """
    face = face_of(masks)
    whole = np.minimum(face + masks[Region.HAIR], np.float32(1)) if fringe else face
    inner = cv2.erode(whole, disc(round(face.shape[0] * _INNER)), borderType=cv2.BORDER_REPLICATE)
    outline = _round_outline(face.shape[0], picture.extent)
    for region in (Region.HAIR, Region.HAT):
        masks[region] = masks[region] * outline
    for region in FACE_REGIONS:
        masks[region] = np.asarray(masks[region] * inner, np.float32)
    if fringe:
        return
    foreign = _looks_foreign(inner, picture)
    bare = 1 - _strands(masks[Region.HAIR], foreign, inner, picture)
    strange = (1 - (1 - foreign) * bare) * (1 - _clear_lids(picture))
    # Beards look like the hair and the shadows beyond them, and are the face's own.
    shaven = np.float32(1 - beard_of(picture, masks))
    for region, share in ((Region.SKIN, np.float32(1)), (Region.BEARD, shaven)):
        own = np.asarray(inner * (1 - strange * share), np.float32)
        masks[region] = np.minimum(masks[region], own)
    if masks[Region.HAT].mean() > WORN:
        masks[Region.SKIN] = masks[Region.SKIN] * (1 - _hat_shadow(masks[Region.SKIN], picture))


def _clear_lids(picture: FacePicture) -> Floats:
    """Lids and lashes that no hair hangs over, ``(S, S)``: they are as dark as hair."""
    clear = np.zeros(picture.parsing.shape, np.float32)
    for side in EACH:
        lids = lid_area(picture.landmarks, picture.crop_size, side)
        if (lids * (picture.parsing == _HAIR)).sum() <= _OVER_LIDS * lids.sum():
            clear = np.maximum(clear, lids)
    return clear


def _hat_shadow(skin: Floats, picture: FacePicture) -> Floats:
    """Where a brim or a visor throws its shadow on a forehead, ``(S, S)``: it stays behind."""
    size = skin.shape[0]
    forehead = higher_than(np.asarray(picture.landmarks, np.float64), GLABELLA, size)
    light = cv2.cvtColor(resized(picture.pixels, size), cv2.COLOR_RGB2LAB)[..., 0]
    below = (skin > 0.9) & (forehead < 0.1)
    if not below.any():
        return np.zeros_like(skin)
    darker = (np.median(light[below]) - light - _SHADOW[0]) / (_SHADOW[1] - _SHADOW[0])
    soft = cv2.GaussianBlur(np.clip(darker, 0, 1) * (skin > 0.5), (0, 0), _SHADOW_EDGE * size)
    return np.asarray(np.clip(2 * soft, 0, 1) * forehead, np.float32)


@cache
def _round_outline(size: int, extent: tuple[float, float, float, float]) -> Floats:
    """``(S, S)``, 1 well inside of what a picture shows, 0 along its border and in its corners."""
    places = (np.arange(size, dtype=np.float32) + 0.5) / size
    left, top, right, bottom = extent
    across, down = (
        np.clip(np.abs((places - begin) / (end - begin) * 2 - 1), 0, 1)
        for begin, end in ((left, right), (top, bottom))
    )
    radius = np.sum(np.square(np.square(np.meshgrid(across, down))), axis=0) ** 0.25
    return smoothstep(0, _OUTLINE, 1 - radius)


def beard_of(picture: FacePicture, masks: Masks) -> float:
    """How sure it is that a picture shows a beard, 0 to 1."""
    skin, jaw = masks[Region.SKIN], masks[Region.BEARD]
    return beardedness(resized(picture.pixels, skin.shape[0]), skin, jaw)


def _strands(hair: Floats, foreign: Floats, face: Floats, picture: FacePicture) -> Floats:
    """Skin under single hairs and their shadows, which reach further than the parser's hair."""
    size = hair.shape[0]
    near, beside = (
        cv2.blur(cv2.dilate(hair, disc(round(size * reach))), (3, 3))
        for reach in (_STRANDS, _BESIDE)
    )
    above = higher_than(np.asarray(picture.landmarks, np.float64), GLABELLA, size)
    rim = np.maximum(near * above, beside) * _unlike_skin(face, picture)
    return np.maximum(rim, _lines_near(hair, foreign, above, picture), dtype=np.float32)


def higher_than(points: NDArray[np.float64], level: int, size: int) -> Floats:
    """What of a picture is higher up than a landmark, seen along the face.

    Args:
        points: ``(478, 3)`` in pixels.
        level: number of the landmark.
        size: side of the picture.

    Returns:
        ``(size, size)`` in [0, 1], soft.
    """
    brow, chin = points[GLABELLA, :2], points[CHIN, :2]
    up = (brow - chin) / max(float(np.linalg.norm(brow - chin)), 1e-6)
    height = (pixel_places(size) - points[level, :2]) @ up
    return np.asarray(np.clip(height / (size * _STRANDS) + 0.5, 0, 1), np.float32)


def _unlike_skin(face: Floats, picture: FacePicture) -> Floats:
    """0 where a pixel has the colour of the skin around it, 1 where it clearly has not."""
    size = face.shape[0]
    lab = cv2.cvtColor(resized(picture.pixels, size), cv2.COLOR_RGB2LAB)
    solid = (face > 0.5).astype(np.float32)
    skin = np.asarray(depth(solid) > size * _STRANDS, np.float32)
    away = np.linalg.norm(lab - local_mean(lab, skin, _RIM * size), axis=-1)
    odd = np.clip((away - _SHADE[0]) / (_SHADE[1] - _SHADE[0]), 0, 1).astype(np.float32)
    # A strand is surrounded by a mixture.
    return np.asarray(cv2.blur(cv2.dilate(odd, disc(round(size * 0.006))), (3, 3)), np.float32)


def _lines_near(hair: Floats, foreign: Floats, forehead: Floats, picture: FacePicture) -> Floats:
    """Thin lines not far from hair: strands that lie on the skin, and the edges of locks.

    Dark ones that come from there are strands all along a forehead.
    """
    size = hair.shape[0]
    grey = cv2.cvtColor(resized(picture.pixels, size), cv2.COLOR_RGB2GRAY)
    kernel = disc(round(size * _LINE))
    # Lashes and the crease of a lid are thin and dark, too.
    eyes = cv2.dilate(eye_openings(picture.landmarks, size), disc(round(size * _LASHES)))
    dark, light = (
        cv2.morphologyEx(grey, kind, kernel) for kind in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT)
    )
    reach = cv2.dilate(np.maximum(hair, foreign), disc(round(size * _LINE_REACH)))
    near = (reach > 0.5) & (eyes < 0.5)
    brows = np.isin(picture.parsing, REGION_CLASSES[Region.BROWS]).astype(np.uint8)
    brows = cv2.dilate(brows, disc(round(size * _LASHES)))
    long = (dark > _STRAND_CONTRAST) & (near | ((forehead > 0.5) & (brows == 0)))
    strands = reaching(long.astype(np.uint8), near)
    lines = ((np.maximum(dark, light) > _LINE_CONTRAST) & near) | strands
    wide = cv2.dilate(lines.astype(np.float32), disc(round(size * 0.008)))
    return np.asarray(cv2.blur(wide, (3, 3)), np.float32)


def _looks_foreign(face: Floats, picture: FacePicture) -> Floats:
    """Pixels near the outline that look like what lies beyond it, rather than like the face.

    The parser calls a lock of hair under the ear, or the shadow beside a jaw, skin now and then;
    carried to another head it would be a bruise.
    """
    size = face.shape[0]
    lab = cv2.cvtColor(resized(picture.pixels, size), cv2.COLOR_RGB2LAB)
    solid = (face > 0.5).astype(np.float32)
    deep = depth(solid)
    rim, inside = (np.asarray(deep > size * far, np.float32) for far in (_RIM, _DEEP))
    # Ears and neck are the person's own skin, often in shadow: no evidence against a rim.
    strange = np.isin(picture.parsing, _STRANGE).astype(np.float32)
    outside = strange * (1 - cv2.dilate(face, disc(round(size * 0.012))))
    away = np.linalg.norm(lab - local_mean(lab, inside, _RIM * size), axis=-1)
    # What lies beyond has many colours: any of them will do, the widest mean or the nearest.
    near = np.minimum.reduce(
        [
            np.linalg.norm(lab - local_mean(lab, outside, reach * size), axis=-1)
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
