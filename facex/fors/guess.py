# SPDX-License-Identifier: Apache-2.0
"""Guesses at what no photo shows, for the generator to start from and to correct (DESIGN 4).

Skin and teeth come from the person who is replaced, a mouth that nobody opened from the mean of the
training faces, the ground behind a head that moved from around it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from facex.fors.beard import INNER, beardedness, drained
from facex.fors.beard import LEAST as SURE_LEAST
from facex.fors.fill import borrow, push_pull, textured
from facex.fors.morphology import disc, grow, weighted_mean
from facex.geometry.extend import ramp
from facex.geometry.mouth import draw_mouth, mouth_grid, mouth_mask

Floats = NDArray[np.float32]

LEAST: Final = 0.004
"""Share of the picture that must be missing before anybody is asked."""
TRUST: Final = 0.5
"""How much a borrowed pixel counts as known."""
FRINGE: Final = 0.02
"""Width of the rim around hair where it is mixed with what is behind, as a share of the side."""

_GAP: Final = 0.045
"""Half the width of a gap that still belongs to the head, as a share of the side."""
_PLAIN: Final = 0.016
"""Deviation of the blur that leaves of borrowed skin its shading, as a share of the side."""
_SEEN: Final = 0.001
"""Share of the picture that must show clothes, or what is around them, to go on behind a head."""
_COLLAR: Final = 0.02
"""Share of the clothes that lies above where they end: what is called clothes by mistake."""
_HEM: Final = 0.008
"""Deviation of the blur between the two, as a share of the side."""
_FADE: Final = 0.016
"""How far lent skin reaches over the rim of the source's, as a share of the side."""
_DARK: Final = 0.4
"""Brightness, as a share of the median skin's, below which lent skin is hair."""
_AROUND: Final = 0.06
"""Deviation of the mean that skin has the brightness of, as a share of the side."""
_STRAND: Final = 0.8
"""Brightness, in that of the skin around, below which it is; light hair has as much more."""
_PALE: Final = 0.75
"""Chroma, as a share of the median skin's, below which skin says nothing of a shaven jaw."""
_MOUTH_LEAST: Final = 0.3
_TORN: Final = (0.1, 0.25)
"""Share of a mouth that nobody shows from which on all of it is guessed, and surely is: what is
seen beside is lips drawn out over it."""
_TEETH: Final = (0.08, 0.16)
"""Height over width of a mouth where it begins to show teeth, and does."""
_SEAM: Final = 0.45
"""Brightness of the slit of a narrower one, in that of its lips."""


@dataclass(frozen=True)
class Lender:
    """Somebody else's face in the result's place, all ``(S, S)`` in [0, 1].

    Attributes:
        image: ``(S, S, 3)`` RGB.
        skin: where it shows skin that is no jaw.
        jaw: where it shows the jaw, with or without a beard.
        brows: where it shows brows that are lent; nowhere, if the face has its own.
        teeth: where it shows the inside of the mouth.
    """

    image: Floats
    skin: Floats
    jaw: Floats
    brows: Floats
    teeth: Floats


def lend_skin(
    image: Floats, known: Floats, edit: Floats, skin: Floats, jaw: Floats, lender: Lender
) -> tuple[Floats, Floats]:
    """Skin and brows under the source's fringe or hat and beyond its profile, and teeth.

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
    lent = (lender.skin + lender.jaw) * _no_hair(lender)
    plain = _plain(_shaven(lender), np.minimum(lent, np.float32(1)))
    plain = np.asarray(plain + (lender.image - plain) * lender.brows[..., None], np.float32)
    lent = np.minimum(lent + lender.brows, np.float32(1))
    lent = np.asarray(lent * (edit > 0), np.float32)
    # The last pixels before a hole are mixed with what hid the skin: they fade into what is lent.
    # What was mirrored is half known, and there: nothing is mixed into it.
    there = _there(known)
    hole = np.asarray((1 - there) * lent > TRUST, np.uint8)
    radius = max(1, round(_FADE * image.shape[0]))
    near = cv2.dilate(hole, np.ones((2 * radius + 1,) * 2, np.uint8)).astype(np.float32)
    near = cv2.GaussianBlur(near, (0, 0), radius / 2)
    skin = np.asarray(np.minimum(skin + jaw, 1), np.float32)
    over = cv2.dilate(skin, np.ones((2 * (radius // 2) + 1,) * 2, np.uint8))
    faded = np.asarray(there * (1 - near * over * lent), np.float32)
    # Along its rim the source is mixed with what was behind it: no colour to go by.
    inner = cv2.erode(skin, np.ones((2 * radius + 1,) * 2, np.uint8), borderValue=1.0)
    image, sure = borrow(image, faded, plain, lent, TRUST, match=np.asarray(inner, np.float32))
    known = sure - (faded - np.minimum(known, faded))
    # Teeth keep their own colour, whatever the skin's.
    return borrow(image, known, lender.image, lender.teeth * edit, TRUST)


def open_mouth(
    image: Floats, known: Floats, edit: Floats, skin: Floats, points: NDArray[np.floating]
) -> tuple[Floats, Floats]:
    """Behind lips that no picture shows open: the mean mouth, or a dark slit, if it is narrow.

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
    inside = mouth_mask(points, size) * edit
    hidden = inside * np.clip(1 - 2.5 * known, 0, 1)
    whole = inside * np.float32(ramp(float(hidden.sum() / max(inside.sum(), 1)), *_TORN))
    hidden, known = np.maximum(hidden, whole), np.asarray(known * (1 - whole), np.float32)
    seen = skin * known
    if hidden.max() < _MOUTH_LEAST or seen.sum() < 1:
        return image, known
    colour = (image * seen[..., None]).sum((0, 1)) / seen.sum()
    slit = push_pull(image, known) * np.float32(_SEAM)
    wide = ramp(mouth_grid(points)[1], *_TEETH)
    drawn = slit + (draw_mouth(points, size, colour) - slit) * np.float32(wide)
    return borrow(image, known, np.asarray(drawn, np.float32), hidden, TRUST)


def fill_face(image: Floats, known: Floats, skin: Floats, face: Floats) -> Floats:
    """Fill what is left unknown: in the face from its skin, elsewhere from everything around.

    A face that is filled from beside it takes on the ground's colour at its rim, and ground that is
    filled from the face, where glasses were, makes it broader.

    Args:
        image: ``(S, S, 3)`` in [0, 1].
        known: ``(S, S)``.
        skin: ``(S, S)``, where the result shows skin.
        face: ``(S, S)``, what the result's mesh covers.

    Returns:
        ``(S, S, 3)``; equal to ``image`` where it is known or lent.
    """
    size, there = image.shape[0], _there(known)
    skin = np.asarray(np.minimum(skin, 1), np.float32)
    clear = _no_strand(image, known * skin)
    # Nor does a strand that a hole cuts off stay beside it.
    hole = cv2.dilate(np.asarray(1 - there, np.float32), disc(round(_FADE * size)))
    there = np.asarray(there * (1 - hole * skin * (1 - clear)), np.float32)
    own, beside = known * skin * clear, there * (1 - skin)
    if own.sum() < 1:
        return push_pull(image, there)
    filled = image * there[..., None] + push_pull(image, beside) * (1 - there[..., None])
    area = cv2.GaussianBlur(face, (0, 0), max(0.6, size / 200))[..., None]
    seen = there[..., None]
    inside = image * seen + push_pull(image, own) * (1 - seen)
    return np.asarray(filled + (inside - filled) * area, np.float32)


def fill_rest(
    image: Floats,
    known: Floats,
    front: Floats,
    beside: Floats,
    target: Floats,
    head: Floats,
    neck: Callable[[], tuple[Floats, Floats]] | None = None,
    cloth: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Fill what is left: where the head was, from around the head; on it, from the head.

    Args:
        image: ``(S, S, 3)`` in [0, 1].
        known: ``(S, S)``.
        front: ``(S, S)``, the result's head.
        beside: ``(S, S)``, what is not its face: there it is filled from hair and ears.
        target: ``(S, S, 3)``, the target as it was.
        head: ``(S, S)``, the target's head as it was.
        neck: finds ``(S, S)``, where a neck goes on behind the head, and its colours.
        cloth: ``(S, S)``, the target's clothes.

    Returns:
        The image and how far it is known now: what is behind a head is guessed.
    """
    size, there = target.shape[0], _there(known)
    filled = push_pull(image, there)
    # Gaps between the parts of a head are not the ground behind it.
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(_GAP * size) + 1,) * 2)
    closed = cv2.morphologyEx((front > 0.3).astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    whole = ndimage.binary_fill_holes(closed).astype(np.float32)
    whole = np.maximum(cv2.GaussianBlur(whole, (0, 0), max(0.6, size / 300)), front)
    own = np.asarray(known * (front > TRUST), np.float32)
    if own.sum() >= 1:
        seen = there[..., None]
        inside = push_pull(image, own)
        hair = np.asarray(own * beside, np.float32)
        if hair.mean() > _SEEN:
            inside = inside + (push_pull(image, hair) - inside) * beside[..., None]
        inside = image * seen + inside * (1 - seen)
        filled = np.asarray(filled + (inside - filled) * whole[..., None], np.float32)
    # What has been guessed already is no open ground.
    share = np.clip(1 - 4 * known, 0, 1) * (1 - whole)
    if share.mean() < LEAST:
        return filled, known
    ground = 1 - grow(head, max(1, round(1.2 * FRINGE * size)))
    ground = np.asarray(np.clip(ground * 2 - 1, 0, 1) * known, np.float32)
    if ground.sum() < 1:
        return filled, known
    behind = _behind(target, ground, cloth)
    if neck is not None:
        column, colours = neck()
        behind = behind + (colours - behind) * column[..., None]
    filled = filled + (behind - filled) * share[..., None]
    return np.asarray(filled, np.float32), np.asarray(known + share * TRUST, np.float32)


def _behind(target: Floats, ground: Floats, cloth: Floats | None) -> Floats:
    """The ground, continued behind a head: clothes and what is around them, each by itself."""
    if cloth is None:
        return textured(target, ground)
    parts = [np.asarray(ground * part, np.float32) for part in (cloth, 1 - cloth)]
    if min(part.mean() for part in parts) < _SEEN:
        return textured(target, ground)
    # Each place is what is nearest to it; but clothes do not rise above where they end.
    far = [cv2.distanceTransform(np.uint8(part < 0.5), cv2.DIST_L2, 5) for part in parts]
    size, nearer = len(target), np.asarray(far[0] < far[1], np.float32)
    rows = np.nonzero(parts[0] > 0)[0]
    nearer[: int(np.quantile(rows, _COLLAR))] = 0
    worn = cv2.GaussianBlur(nearer, (0, 0), _HEM * size)[..., None]
    one, other = (textured(target, part) for part in parts)
    return np.asarray(other + (one - other) * worn, np.float32)


def _no_strand(image: Floats, skin: Floats) -> Floats:
    """0 where skin is clearly darker or lighter than around: strands lend no colour to a hole."""
    around, _ = weighted_mean(image, skin, _AROUND * image.shape[0])
    ratio = image.mean(-1) / np.maximum(around.mean(-1), 1e-3)
    return np.asarray((ratio > _STRAND) & (ratio < 1 / _STRAND), np.float32)


def _there(known: Floats) -> Floats:
    """How far there is anything: what was lent is only half known, and shown as it is."""
    return np.minimum(known / np.float32(TRUST), np.float32(1))


def _no_hair(lender: Lender) -> Floats:
    """0 where what was called skin is as dark as hair: locks beside the cheeks are taken for it."""
    grey = cv2.cvtColor(np.ascontiguousarray(lender.image), cv2.COLOR_RGB2GRAY)
    sure = lender.skin > INNER
    if sure.sum() < SURE_LEAST:
        return np.ones_like(grey)
    called = lender.skin + lender.jaw > TRUST
    dark = np.asarray((grey < _DARK * np.median(grey[sure])) & called, np.uint8)
    radius = max(1, round(_FADE * grey.shape[0] / 2))
    # Larger things only: nostrils and wrinkles are smoothed away with the rest of the detail.
    dark = cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((2 * radius + 1,) * 2, np.uint8))
    wide = cv2.dilate(dark, np.ones((4 * radius + 1,) * 2, np.uint8)).astype(np.float32)
    return np.asarray(1 - cv2.GaussianBlur(wide, (0, 0), radius), np.float32)


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
    face = lender.image, lender.skin, lender.jaw
    image, beard = lender.image, max(beardedness(*face), drained(*face))
    if beard <= 0:
        return image
    bare = push_pull(image, _coloured(image, lender.skin))
    share = np.clip(lender.jaw * np.float32(beard), 0, 1)[..., None]
    return np.asarray(image + (bare - image) * share, np.float32)


def _coloured(image: Floats, skin: Floats) -> Floats:
    """Sure skin ``(S, S)`` of the colour of skin: sideburns and rims of beards have less."""
    lab = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB)
    chroma, sure = np.hypot(lab[..., 1], lab[..., 2]), skin > INNER
    if not sure.any():
        return np.zeros_like(skin)
    return np.asarray(sure & (chroma > _PALE * np.median(chroma[sure])), np.float32)
