# SPDX-License-Identifier: Apache-2.0
"""Guesses at what no photo shows, for the generator to start from and to correct (DESIGN 4).

Skin and teeth come from the person who is replaced, a mouth that nobody opened from the mean of the
training faces, the ground behind a head that moved from around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from facex.fors.fill import borrow, push_pull
from facex.fors.region_masks import grow
from facex.geometry.mouth import draw_mouth, mouth_mask

Floats = NDArray[np.float32]

LEAST: Final = 0.004
"""Share of the picture that must be missing before anybody is asked."""
TRUST: Final = 0.5
"""How much a borrowed pixel counts as known."""
FRINGE: Final = 0.02
"""Width of the rim around hair where it is mixed with what is behind, as a share of the side."""

_LOOK: Final = 256
"""Side at which a beard is looked for."""
_BEARD_RATIO: Final = (1.7, 2.4)
_BEARD_FINE: Final = (0.02, 0.03)
"""Median fine contrast of a jaw, relative to the other skin's and alone, where a beard begins and
is sure. On 60 photos: nine of ten beards and stubble, and two shaven jaws that smile."""
_INNER: Final = 0.9
_JAW_LEAST: Final = 50
_GAP: Final = 0.025
"""Half the width of a gap that still belongs to the head, as a share of the side."""
_PLAIN: Final = 0.016
"""Deviation of the blur that leaves of borrowed skin its shading, as a share of the side."""
_FADE: Final = 0.016
"""How far lent skin reaches over the rim of the source's, as a share of the side."""
_MOUTH_LEAST: Final = 0.3


@dataclass(frozen=True)
class Lender:
    """Somebody else's face in the result's place, all ``(S, S)`` in [0, 1].

    Attributes:
        image: ``(S, S, 3)`` RGB.
        skin: where it shows skin that is no jaw.
        jaw: where it shows the jaw, with or without a beard.
        teeth: where it shows the inside of the mouth.
    """

    image: Floats
    skin: Floats
    jaw: Floats
    teeth: Floats


def lend_skin(
    image: Floats, known: Floats, edit: Floats, skin: Floats, jaw: Floats, lender: Lender
) -> tuple[Floats, Floats]:
    """Skin under the source's fringe or hat and beyond its profile, and teeth it never showed.

    Args:
        image: ``(S, S, 3)`` in [0, 1].
        known: ``(S, S)``.
        edit: ``(S, S)``.
        skin: ``(S, S)``, where the result shows skin that is no jaw: colours are compared there.
        jaw: ``(S, S)``, where it shows the jaw: compared too.
        lender: who lends.

    Returns:
        The image and how far it is known now.
    """
    lent = lender.skin + lender.jaw
    shaven = _shaven(lender)
    plain = _plain(shaven, np.minimum(lent, np.float32(1)))
    lent = np.asarray(lent * (edit > 0), np.float32)
    # The last pixels before a hole are mixed with what hid the skin: they fade into what is lent.
    hole = np.asarray((1 - known) * lent > TRUST, np.uint8)
    radius = max(1, round(_FADE * image.shape[0]))
    near = cv2.dilate(hole, np.ones((2 * radius + 1,) * 2, np.uint8)).astype(np.float32)
    near = cv2.GaussianBlur(near, (0, 0), radius / 2)
    skin = np.asarray(np.minimum(skin + jaw, 1), np.float32)
    over = cv2.dilate(skin, np.ones((2 * (radius // 2) + 1,) * 2, np.uint8))
    faded = np.asarray(known * (1 - near * over * lent), np.float32)
    # Along its rim the source is mixed with what was behind it: no colour to go by.
    inner = cv2.erode(skin, np.ones((2 * radius + 1,) * 2, np.uint8), borderValue=1.0)
    image, known = borrow(image, faded, plain, lent, TRUST, match=np.asarray(inner, np.float32))
    # Teeth keep their own colour, whatever the skin's.
    return borrow(image, known, lender.image, lender.teeth * edit, TRUST)


def open_mouth(
    image: Floats, known: Floats, edit: Floats, skin: Floats, points: NDArray[np.floating]
) -> tuple[Floats, Floats]:
    """Behind lips that no picture shows open: the mean mouth.

    Args:
        image: ``(S, S, 3)`` in [0, 1].
        known: ``(S, S)``.
        edit: ``(S, S)``.
        skin: ``(S, S)``, where the result shows skin.
        points: ``(478, 3)`` of the result in pixels.

    Returns:
        The image and how far it is known now.
    """
    size = image.shape[0]
    # Where a warp is torn it is half known, and no mouth is open for that.
    hidden = mouth_mask(points, size) * edit * np.clip(1 - 2.5 * known, 0, 1)
    seen = skin * known
    if hidden.max() < _MOUTH_LEAST or seen.sum() < 1:
        return image, known
    colour = (image * seen[..., None]).sum((0, 1)) / seen.sum()
    drawn = draw_mouth(points, size, colour)
    return borrow(image, known, drawn, hidden, TRUST)


def fill_rest(
    image: Floats, known: Floats, front: Floats, target: Floats, head: Floats
) -> tuple[Floats, Floats]:
    """Fill what is left: where the head was, from around the head; on it, from the head.

    Args:
        image: ``(S, S, 3)`` in [0, 1].
        known: ``(S, S)``.
        front: ``(S, S)``, the result's head.
        target: ``(S, S, 3)``, the target as it was.
        head: ``(S, S)``, the target's head as it was.

    Returns:
        The image and how far it is known now: what is behind a head is guessed.
    """
    filled = push_pull(image, known)
    size = target.shape[0]
    # Gaps between the parts of a head are not the ground behind it.
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(_GAP * size) + 1,) * 2)
    closed = cv2.morphologyEx((front > 0.3).astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    whole = ndimage.binary_fill_holes(closed).astype(np.float32)
    whole = np.maximum(cv2.GaussianBlur(whole, (0, 0), max(0.6, size / 300)), front)
    # What has been guessed already is no open ground.
    share = np.clip(1 - 4 * known, 0, 1) * (1 - whole)
    if share.mean() < LEAST:
        return filled, known
    ground = 1 - grow(head, max(1, round(1.2 * FRINGE * size)))
    ground = np.asarray(np.clip(ground * 2 - 1, 0, 1) * known, np.float32)
    if ground.sum() < 1:
        return filled, known
    behind = push_pull(target, ground)
    filled = filled + (behind - filled) * share[..., None]
    return np.asarray(filled, np.float32), np.asarray(known + share * TRUST, np.float32)


def _plain(image: Floats, skin: Floats) -> Floats:
    """Skin without its wrinkles, veins and single hairs, which are the lender's own.

    Args:
        image: ``(S, S, 3)`` in [0, 1].
        skin: ``(S, S)`` in [0, 1]; nothing else is mixed in.
    """
    sigma = _PLAIN * image.shape[0]
    solid = np.asarray(skin > 0.9, np.float32)
    weight = cv2.GaussianBlur(solid, (0, 0), sigma)
    soft = cv2.GaussianBlur(image * solid[..., None], (0, 0), sigma) / (weight + 1e-6)[..., None]
    share = np.clip(weight * 4, 0, 1)[..., None]
    return np.asarray(image + (soft - image) * share, np.float32)


def _shaven(lender: Lender) -> Floats:
    """The lender without a beard: the tone of the rest of the face goes on over the jaw."""
    image, parts = lender.image, (lender.jaw, lender.skin)
    scale = _LOOK / image.shape[0]
    small = cv2.resize(image, (_LOOK, _LOOK), interpolation=cv2.INTER_AREA) if scale < 1 else image
    size = (small.shape[1], small.shape[0])
    fine = _fine(small)
    inner = [cv2.resize(part, size, interpolation=cv2.INTER_AREA) > _INNER for part in parts]
    inner = [ndimage.binary_erosion(part, iterations=2) for part in inner]
    if min(part.sum() for part in inner) < _JAW_LEAST:
        return image
    jaw, skin = (float(np.median(fine[part])) for part in inner)
    ratio = jaw / max(skin, 1e-6)
    beard = _ramp(ratio, *_BEARD_RATIO) * _ramp(jaw, *_BEARD_FINE)
    if beard <= 0:
        return image
    bare = push_pull(image, np.asarray(lender.skin > _INNER, np.float32))
    share = np.clip(lender.jaw * np.float32(beard), 0, 1)[..., None]
    return np.asarray(image + (bare - image) * share, np.float32)


def _fine(image: Floats) -> Floats:
    """Relative contrast of what is finer than two pixels."""
    grey = np.log(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) + np.float32(0.03))
    return np.asarray(np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 2)), np.float32)


def _ramp(value: float, low: float, high: float) -> float:
    return float(np.clip((value - low) / (high - low), 0, 1))
