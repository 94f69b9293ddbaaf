# SPDX-License-Identifier: Apache-2.0
"""What parsers get wrong of a whole picture, mended before masks are made of its labels.

Specks (a wrinkle called a hat) go to the label around them; dark lenses are whole, collars are no
hair, and beards no clothes.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from facex.fors.face_picture import FacePicture
from facex.fors.morphology import disc, pixel_places, resized, weighted_mean
from facex.geometry.topology import EYES
from facex.types import PARSING_CLASSES

_SPECK: Final = 0.0022
"""Share of the picture below which a piece of skin, hair, hat or ground is a mistake."""
_GLASSES: Final = 0.0042
"""Share of the picture that makes a pair of glasses; of 380 faces, what was less were shadows and
pieces of rimless ones, nothing that another face could wear."""
_LARGE_CLASSES: Final = tuple(
    PARSING_CLASSES.index(name)
    for name in ("background", "skin", "hair", "hat", "neck", "cloth", "eye_g")
)
_GROUND, _SKIN, _HAIR, _CLOTH, _NECK, _GLASS, _HAT, _NOSE = (
    PARSING_CLASSES.index(name)
    for name in ("background", "skin", "hair", "cloth", "neck", "eye_g", "hat", "nose")
)
_HEAD: Final = tuple(
    PARSING_CLASSES.index(name)
    for name in ("skin", "l_brow", "r_brow", "l_ear", "r_ear", "ear_r", "hat", "eye_g")
)
_BEHIND: Final = tuple(
    PARSING_CLASSES.index(name)
    for name in ("background", "skin", "l_brow", "r_brow", "l_eye", "r_eye")
)
"""What a parser may see behind a lens, or in it."""
_ONE_HAIR: Final = 20.0
"""Difference of a, b of CIELAB between pieces that cannot be one person's hair."""
_ONE_LIGHT: Final = 20.0
"""Difference of L of CIELAB likewise: of 28 such pieces on 380 faces all but one were shoulders,
walls and hats, and from 18 downwards hair begins."""
_AMONG: Final = 0.25
"""Share of its rim that is clothes, of a piece of hair that is clothes, too: of the 50 such pieces
of 756 faces six or so were hair."""
_AROUND: Final = (0.1, 0.04)
"""Over how much hair and ground are compared with, as shares of the side."""
_LIKE_GROUND: Final = (0.4, 28.0)
"""Distance to the ground over that to hair, CIELAB, below which, and that to hair above which what
is called hair is ground: in 84 of 756 faces more than 100 px; the 30 with most were looked at, and
were."""
_NEAR: Final = 0.02
"""Share of the surroundings that must be ground."""
_CONTACT: Final = 1.3
"""Pixels along the face, by the root of its area, of a piece of hair (measured: hair 1.7 to 9)."""
_BEARD: Final = 0.03
"""Share of the picture that is too much for a beard below the chin."""
_DARK: Final = 0.65
"""Brightness of a beard, as a share of the face's, at most."""
_LENS: Final = 0.55
"""Radius around an eye within which its lens lies, in distances of the eyes."""
_FRAME: Final = 0.1
"""Width of a frame, in distances of the eyes."""
_DARK_LENS: Final = (0.6, 0.65)
"""Share of the inside of lenses that is called glasses, at least, and brightness, in that of the
face, at most, of dark ones: of 119 pairs the parser saw eyes or skin in 8 dark ones, which have
that, as 10 whole dark ones do; no clear ones have both."""
_HAT_PIECE: Final = 0.02
"""Share of the picture above which what a hat surrounds may be a face."""
_IN_HAT: Final = 0.6
"""Share of its rim that is hat, of a piece of skin that is hat itself: of 756 faces two pieces had
.79 and .9, and were; foreheads between a hat and glasses have up to .45."""
_HAIRS: Final = 0.02
"""How far the hairs of a beard reach beyond what the parser called clothes, in sides."""


def mended(parsing: NDArray[np.uint8], picture: FacePicture) -> NDArray[np.uint8]:
    """Labels ``(S, S)`` of a picture without what is known to go wrong with them."""
    parsing = _hat_is_no_skin(_dark_lenses_are_whole(without_specks(parsing), picture))
    parsing = _ground_is_no_hair(_cloth_is_no_hair(parsing, picture), picture)
    return _beard_is_no_cloth(parsing, picture)


def without_specks(parsing: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give pieces that are too small to be what they are called to the labels around them."""
    least, noses = _SPECK * parsing.size, parsing == _NOSE
    wrong = np.zeros(parsing.shape, bool)
    for label in _LARGE_CLASSES:
        count, pieces, stats, _ = cv2.connectedComponentsWithStats(
            (parsing == label).astype(np.uint8), connectivity=8
        )
        wrongs = stats[:, cv2.CC_STAT_AREA] < least
        if label == _HAIR and count > 2:
            wrongs |= ~_on_head(pieces, count, parsing)
        if label == _HAT and noses.any():
            # Nobody wears one below the nose: that is a collar or a scarf.
            wrongs |= stats[:, cv2.CC_STAT_TOP] > np.median(np.nonzero(noses)[0])
        small = np.flatnonzero(wrongs)
        small = small[small > 0]
        if len(small) and count > 1:
            wrong |= np.isin(pieces, small)
    glasses = parsing == _GLASS
    if (glasses & ~wrong).sum() < _GLASSES * parsing.size:
        wrong |= glasses
    if not wrong.any() or wrong.all():
        return parsing
    rows, columns = ndimage.distance_transform_edt(
        wrong, return_distances=False, return_indices=True
    )
    return np.asarray(parsing[rows, columns], np.uint8)


def _dark_lenses_are_whole(parsing: NDArray[np.uint8], picture: FacePicture) -> NDArray[np.uint8]:
    """Through dark lenses nobody sees eyes: what a parser guesses there is glass."""
    size, glasses = len(parsing), parsing == _GLASS
    if not glasses.any():
        return parsing
    points = np.asarray(picture.landmarks)[:, :2]
    eyes = np.stack([points[list(eye)].mean(0) for eye in EYES])
    apart = float(np.linalg.norm(eyes[0] - eyes[1]))
    frame = disc(round(_FRAME * apart))
    places = pixel_places(size)
    lenses, inside = np.zeros((size, size), np.uint8), np.zeros((size, size), bool)
    for eye in eyes:
        near = np.linalg.norm(places - eye, axis=-1) < _LENS * apart
        outline = np.argwhere(glasses & near)[:, ::-1].astype(np.int32)
        lens = np.zeros_like(lenses)
        if len(outline):
            cv2.fillConvexPoly(lens, cv2.convexHull(outline), 1)
        inner = cv2.erode(lens, frame) > 0
        if not inner.any():
            return parsing
        lenses, inside = lenses | lens, inside | inner
    grey = cv2.cvtColor(resized(picture.pixels, size), cv2.COLOR_RGB2GRAY)
    dark = _DARK_LENS[1] * np.median(grey[parsing == _SKIN]) if (parsing == _SKIN).any() else 0
    if glasses[inside].mean() < _DARK_LENS[0] or np.median(grey[inside]) > dark:
        return parsing
    return np.where((lenses > 0) & np.isin(parsing, _BEHIND), np.uint8(_GLASS), parsing)


def _hat_is_no_skin(parsing: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A bright piece of a hat, called skin, has hat all around."""
    hat = parsing == _HAT
    if not hat.any():
        return parsing
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(
        (parsing == _SKIN).astype(np.uint8), connectivity=4
    )
    wrong = np.zeros(count, bool)
    for piece in np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < _HAT_PIECE * parsing.size):
        wrong[piece] = hat[_rim(pieces == piece)].mean() > _IN_HAT
    wrong[0] = False
    return np.where(wrong[pieces], np.uint8(_HAT), parsing)


def _cloth_is_no_hair(parsing: NDArray[np.uint8], picture: FacePicture) -> NDArray[np.uint8]:
    """Hair has one colour: another piece of quite another one is a collar, a shoulder or a wall.

    So is one that hangs below the eyes, far from all other hair, and lies among clothes.
    """
    count, pieces, stats, _ = cv2.connectedComponentsWithStats((parsing == _HAIR).astype(np.uint8))
    if count < 3:
        return parsing
    lab = cv2.cvtColor(resized(picture.pixels, len(parsing)), cv2.COLOR_RGB2LAB)
    area = np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
    colour = np.stack(
        [np.bincount(pieces.ravel(), lab[..., i].ravel(), count) / area for i in range(3)], -1
    )
    # Hair grows above the brows; clothes do not.
    above = np.bincount(pieces[: max(int(picture.landmarks[9, 1]), 0)].ravel(), minlength=count)
    hair = 1 + int(np.argmax(above[1:] if above[1:].any() else area[1:]))
    light, tint = np.abs(colour - colour[hair])[:, 0], (colour - colour[hair])[:, 1:]
    other = (np.linalg.norm(tint, axis=-1) > _ONE_HAIR) | (light > _ONE_LIGHT)
    eyes = np.asarray(picture.landmarks)[[*EYES[0], *EYES[1]], 1].max()
    for piece in np.flatnonzero(stats[:, cv2.CC_STAT_TOP] > eyes):
        other[piece] |= (parsing[_rim(pieces == piece)] == _CLOTH).mean() > _AMONG
    other[[0, hair]] = False
    return np.where(other[pieces], np.uint8(_CLOTH), parsing)


def _ground_is_no_hair(parsing: NDArray[np.uint8], picture: FacePicture) -> NDArray[np.uint8]:
    """What looks like the ground beside it, and not at all like the hair, is ground.

    Between curls and along the outline of hair a bright wall would come along as a halo.
    """
    size = len(parsing)
    inner = [
        cv2.erode((parsing == kind).astype(np.uint8), disc(reach)).astype(np.float32)
        for kind, reach in ((_HAIR, 2), (_GROUND, 1))
    ]
    if min(part.sum() for part in inner) < _SPECK * parsing.size:
        return parsing
    lab = cv2.cvtColor(np.ascontiguousarray(resized(picture.pixels, size)), cv2.COLOR_RGB2LAB)
    (hair, _), (ground, near) = (
        weighted_mean(lab, part, sigma * size) for part, sigma in zip(inner, _AROUND, strict=True)
    )
    usual = np.median(lab[inner[0] > 0], axis=0)
    to_hair, to_ground = (
        np.min([np.linalg.norm(lab - colour, axis=-1) for colour in colours], axis=0)
        for colours in ((hair, usual), (ground,))
    )
    seen = (to_ground < _LIKE_GROUND[0] * to_hair) & (to_hair > _LIKE_GROUND[1]) & (near > _NEAR)
    wrong = cv2.morphologyEx(((parsing == _HAIR) & seen).astype(np.uint8), cv2.MORPH_OPEN, disc(1))
    return np.where(wrong > 0, np.uint8(_GROUND), parsing)


def _beard_is_no_cloth(parsing: NDArray[np.uint8], picture: FacePicture) -> NDArray[np.uint8]:
    """Clothes touch a neck; what touches the face along its outline is a dark beard: skin, here.

    Or it is a neck that was called clothes together with them; that is larger, or as light as skin.
    """
    size, skin = len(parsing), parsing == _SKIN
    _, pieces, stats, _ = cv2.connectedComponentsWithStats((parsing == _CLOTH).astype(np.uint8))
    area = stats[:, cv2.CC_STAT_AREA]
    near = cv2.dilate(skin.astype(np.uint8), disc(1)) > 0
    beard = (_along(near, pieces, area) > _CONTACT) & (area < _BEARD * parsing.size)
    beard[0] = False
    if not beard.any():
        return parsing
    grey = cv2.cvtColor(resized(picture.pixels, size), cv2.COLOR_RGB2GRAY)
    light = np.bincount(pieces.ravel(), grey.ravel()) / np.maximum(area, 1)
    beard &= light < _DARK * np.median(grey[skin])
    if not beard.any():
        return parsing
    # Its hairs reach further than it is drawn.
    grown = cv2.dilate(beard[pieces].astype(np.uint8), disc(round(_HAIRS * len(parsing)))) > 0
    return np.where(grown & np.isin(parsing, (_CLOTH, _NECK)), np.uint8(_SKIN), parsing)


def _rim(piece: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels around a piece."""
    return np.asarray(cv2.dilate(piece.astype(np.uint8), np.ones((3, 3), np.uint8)) > piece)


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
