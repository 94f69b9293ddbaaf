# SPDX-License-Identifier: Apache-2.0
"""Eyeballs that the target lends: a source laughs or squints, and its lids hide its own.

They keep the colour of the source's irises, as far as that is seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.eyes import IRIS_RIM
from facex.fors.face_picture import FacePicture
from facex.fors.morphology import resized
from facex.geometry.band import filled
from facex.geometry.topology import EYES, IRISES
from facex.geometry.visibility import EYE_SHUT, eye_openness, iris_disc
from facex.types import PARSING_CLASSES

Floats = NDArray[np.float32]
Points = NDArray[np.float64]

_EYES: Final = tuple(PARSING_CLASSES.index(name) for name in ("r_eye", "l_eye"))
_CLEAR: Final = 0.5
"""Share of an opening that must be called eye: no hair and no dark lens before it."""
_GLASS: Final = PARSING_CLASSES.index("eye_g")
_NARROW: Final = 0.27
"""Height over width below which lids hide much of the white: of 60 pairs, the eyes of most below
it came out murky."""
_WIDER: Final = 1.2
"""Times by which the result's eye must be opened further than the source's."""
_MURKY: Final = 0.35
"""Brightness of a white, in that of the skin below the eye, under which it is shade and lashes."""
_BRIGHTER: Final = 1.3
"""Times by which the whites that are lent must be brighter then."""
_SKIN: Final = PARSING_CLASSES.index("skin")
_BELOW: Final = (0.5, 0.25)
"""How far below an eye its skin is looked at, and how far around, in widths of the eye."""
_RING: Final = (0.45, 0.9)
"""Radii of an iris between which it has its colour."""
_SEEN: Final = 0.12
"""Share of an iris's disc that must be seen of that ring."""
_FACTOR: Final = (0.4, 2.5)
"""Limits of what a channel is multiplied by."""
_SHINE: Final = 0.6
"""Brightness from which a pixel of an eye reflects the light."""


def lacks_eyes(source: Points, result: Points) -> bool:
    """Whether a source shows an eye too narrow for how far the result opens it.

    Args:
        source: ``(478, 3)`` landmarks, of any scale.
        result: likewise.
    """
    for eye in EYES:
        shown, wanted = (_opened(points[list(eye)]) for points in (source, result))
        if shown < _NARROW and wanted > max(_WIDER * shown, EYE_SHUT):
            return True
    return False


def _opened(lids: Points) -> float:
    """Height over width of the points (16, 3) around an eye, however the head is turned.

    In the picture the far eye of a turned head is narrower, and so seems to be opened further: at
    40 degrees by a third, where this measure has the same median as on frontal faces.
    """
    width = float(np.linalg.norm(lids[8] - lids[0]))
    heights = np.linalg.norm(lids[1:8] - lids[:8:-1], axis=1)
    return float(heights.max()) / max(width, 1e-3)


def behind_glass(picture: FacePicture) -> bool:
    """Whether lenses hide the eyes of a picture, so that eyes behind them would be new."""
    return any(seen.size and (seen == _GLASS).mean() > 1 - _CLEAR for _, seen in _eyes(picture))


def murky_eyes(source: FacePicture, target: FacePicture) -> bool:
    """Whether the whites of a source's eyes are dark, and those of a target are not."""
    shown = _brightness_of_whites(source)
    if shown is None or shown >= _MURKY:
        return False
    lent = _brightness_of_whites(target)
    return lent is not None and lent > _BRIGHTER * shown


def _brightness_of_whites(picture: FacePicture) -> float | None:
    """Of both eyes, in that of the skin below them; None where either cannot be seen."""
    size = picture.crop_size
    points = np.asarray(picture.landmarks, np.float64)
    image = cv2.cvtColor(resized(picture.pixels, size), cv2.COLOR_RGB2GRAY)
    rows, columns = np.ogrid[:size, :size]
    shares = []
    for eye, iris in zip(EYES, IRISES, strict=True):
        lids = points[list(eye), :2]
        distance, _ = _from_iris(image, points, iris)
        white = (filled(lids, size) > 0.5) & (distance > IRIS_RIM)
        width = float(np.linalg.norm(lids[8] - lids[0]))
        down = lids[9:].mean(0) - lids[1:8].mean(0)
        down *= _BELOW[0] * width / max(float(np.linalg.norm(down)), 1e-3)
        x, y = (lids[0] + lids[8]) / 2 + down
        below = np.hypot(columns + 0.5 - x, rows + 0.5 - y) < _BELOW[1] * width
        skin = below & (picture.parsing == _SKIN)
        if white.any() and skin.any():
            shares.append(float(image[white].mean() / max(image[skin].mean(), 1e-3)))
    return float(np.mean(shares)) if shares else None


def with_irises_of(picture: Floats, points: Points, other: Floats, other_points: Points) -> Floats:
    """A picture whose irises have the colour of another's.

    Light multiplies, and so does a pigment: each channel by a factor, pupils stay black.

    Args:
        picture: ``(S, S, 3)`` in [0, 1].
        points: ``(478, 3)`` in its pixels.
        other: ``(s, s, 3)``, in the same light.
        other_points: in its pixels.
    """
    colours = [_iris_colour(*args) for args in ((picture, points), (other, other_points))]
    own, wanted = colours
    if own is None or wanted is None:
        return picture
    factor = np.clip(wanted / np.maximum(own, 0.02), *_FACTOR)
    result = picture.copy()
    for iris in IRISES:
        distance, radius = _from_iris(picture, points, iris)
        share = np.clip((1.05 - distance) / max(0.15, 0.7 / radius), 0, 1)[..., None]
        # What shines on an eye is the light's.
        shine = np.clip((picture.max(-1, keepdims=True) - _SHINE) / (1 - _SHINE), 0, 1)
        result *= 1 + (factor - 1) * share * (1 - shine)
    return np.asarray(np.clip(result, 0, 1), np.float32)


def _iris_colour(picture: Floats, points: Points) -> Floats | None:
    """Median colour (3,) of both irises between the lids and around the pupils, if it is seen."""
    found = []
    for eye, iris in zip(EYES, IRISES, strict=True):
        distance, radius = _from_iris(picture, points, iris)
        opening = filled(points[list(eye), :2], *picture.shape[:2]) > 0.5
        ring = opening & (distance > _RING[0]) & (distance < _RING[1])
        if ring.sum() > _SEEN * np.pi * radius**2:
            found.append(picture[ring])
    return np.asarray(np.median(np.concatenate(found), 0), np.float32) if found else None


def _from_iris(picture: Floats, points: Points, iris: tuple[int, ...]) -> tuple[Floats, float]:
    """Distance of every pixel from the middle of an iris, in its radii, and the radius."""
    centre, radius = iris_disc(points, iris)
    rows, columns = np.ogrid[: picture.shape[0], : picture.shape[1]]
    away = np.hypot(columns + 0.5 - centre[0], rows + 0.5 - centre[1]) / radius
    return np.asarray(away, np.float32), radius


def clear_eyes(picture: FacePicture) -> bool:
    """Whether both eyes of a picture can be lent: open, and nothing before them."""
    return not any(
        not seen.size or np.isin(seen, _EYES).mean() < _CLEAR or eye_openness(lids) < EYE_SHUT
        for lids, seen in _eyes(picture)
    )


def _eyes(picture: FacePicture) -> Iterator[tuple[Points, NDArray[np.uint8]]]:
    """The lids (16, 3) of each eye, and what the parser calls the pixels between them."""
    for eye in EYES:
        lids = np.asarray(picture.landmarks, np.float64)[list(eye)]
        yield lids, picture.parsing[filled(lids[:, :2], *picture.parsing.shape) > 0.5]
