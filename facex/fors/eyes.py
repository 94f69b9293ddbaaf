# SPDX-License-Identifier: Apache-2.0
"""Eyes that an edit turns, painted from what the photo shows of them.

A warp carries the iris with the mesh and smears it where the lids cover it. Here the eye is taken
apart: the white without the iris, carried from lid to lid, and the iris as a whole disc, whose
covered parts come from the other side of the same ring; then it is put together behind the lids of
the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from facex.fors.fill import push_pull
from facex.fors.mirror import flipped
from facex.fors.relight import ColourMap
from facex.geometry.band import box_about, filled
from facex.geometry.gaze import EYEBALL_TO_IRIS, gaze_direction
from facex.geometry.topology import EYES, IRISES, Sides
from facex.geometry.visibility import EYE_SHUT, eye_openness, iris_disc

Floats = NDArray[np.float32]
Points = NDArray[np.float64]

_RINGS, _SPOKES = 24, 96
"""Samples of the iris along the radius and around."""
IRIS_RIM: Final = 1.18
"""Radii of the iris up to which its disc is taken, with the dark ring around it."""
_LID_SHADE: Final = 0.3
"""How much darker the iris is right under the upper lid."""


_AIMS: Final = 6
"""How often a look is read and corrected."""
_AIMED: Final = 0.02
"""Radians by which a look may be off."""
_AIM_GAIN: Final = (0.7, 2.5)
"""Limits of the turn of an iris for each radian by which the look is off."""
_AIM_MOST: Final = 0.4
"""Radians by which a look is corrected at most."""
_TURNED_AWAY: Final = 0.6
"""Width of an eye, in that of the other, below which it is turned away: at about 40 degrees."""
_KEPT: Final = 0.8
"""Share of the seen part of an iris that stays in sight."""


@dataclass(frozen=True)
class Look:
    """Where the eyes of the result shall look, and who says where they do.

    Attributes:
        wanted: ``(2, 2)`` right and left eye, pitch and yaw in radians, camera frame.
        read: the gaze ``(2, 2)`` of a picture ``(S, S, 3)`` in [0, 1] with landmarks in its pixels.
    """

    wanted: Floats
    read: Callable[[Floats, Points], Floats]


def aim_eyes(
    image: Floats,
    source: Floats,
    source_points: Points,
    result_points: Points,
    look: Look,
    *,
    covered: Sides = (False, False),
) -> Floats:
    """By how much the eyes must be turned further until they seem to look where they shall.

    Lids, the shape of another person's eyes and the depth of the sockets make the same iris look
    elsewhere; a network that reads the painted eyes sees that.

    Args:
        image: ``(S, S, 3)`` in [0, 1], the reference so far.
        source: as for :func:`paint_turned_eyes`.
        source_points: likewise.
        result_points: likewise.
        look: what is wanted.
        covered: as for :func:`paint_turned_eyes`.

    Returns:
        ``(2,)`` pitch and yaw in radians, the same for both eyes.
    """
    turn, best, least = np.zeros(2, np.float32), np.zeros(2, np.float32), np.inf
    gain, last = np.ones(2, np.float32), None
    for _ in range(_AIMS):
        points = turned_irises(result_points, look.wanted, turn)
        painted, where = paint_turned_eyes(
            image, source, source_points, points, turn, covered=covered
        )
        error = np.asarray(look.wanted - look.read(painted, points), np.float32).mean(0)
        if (size := float(np.linalg.norm(error))) < least:
            best, least = turn, size
        if size < _AIMED or (turn.any() and where.max() == 0):
            break
        if last is not None:
            # How much turn it took for how much of a change, angle by angle.
            step, seen = turn - last[0], last[1] - error
            ratio = step / np.where(np.abs(seen) < 1e-3, 1e-3, seen)
            gain = np.where(np.abs(step) > 0.02, np.clip(ratio, *_AIM_GAIN), gain)
        last = turn, error
        turn = np.clip(turn + gain * error, -_AIM_MOST, _AIM_MOST).astype(np.float32)
        turn = _held(turn, result_points, look.wanted)
    return best


def _held(turn: Floats, points: Points, gaze: Floats) -> Floats:
    """A turn, cut so far that most of the irises that were seen still are."""
    least = _KEPT * _iris_seen(points)
    for share in (1.0, 0.8, 0.6, 0.4, 0.2):
        if _iris_seen(turned_irises(points, gaze, turn * np.float32(share))) >= least:
            return np.asarray(turn * np.float32(share), np.float32)
    return np.zeros_like(turn)


def _iris_seen(points: Points) -> float:
    """Share of both irises that lies between the lids."""
    number = np.arange(_SPOKES) + 0.5
    radii, angles = np.sqrt(number / _SPOKES), number * np.pi * (1 + 5**0.5)
    disc = np.stack([radii * np.cos(angles), radii * np.sin(angles)], -1)
    seen = []
    for eye, iris in zip(EYES, IRISES, strict=True):
        centre, radius = iris_disc(points, iris)
        ring = np.asarray(points[list(eye), :2], np.float32)
        inside = [
            cv2.pointPolygonTest(ring, (float(x), float(y)), False) >= 0
            for x, y in centre + radius * disc
        ]
        seen.append(np.mean(inside))
    return float(np.mean(seen))


def turned_irises(points: Points, gaze: Floats, turn: Floats) -> Points:
    """Landmarks ``(478, 3)`` with the irises turned by ``(2,)`` from a gaze ``(2, 2)``."""
    result = points.copy()
    for eye, iris in enumerate(IRISES):
        _, radius = iris_disc(points, iris)
        before = torch.from_numpy(np.asarray(gaze[eye], np.float32))
        step = gaze_direction(before + torch.from_numpy(turn)) - gaze_direction(before)
        result[list(iris)] += EYEBALL_TO_IRIS * radius * step.double().numpy()
    return result


def paint_turned_eyes(
    image: Floats,
    source: Floats,
    source_points: Points,
    result_points: Points,
    turn: Floats | None = None,
    *,
    whole: bool = False,
    covered: Sides = (False, False),
) -> tuple[Floats, Floats]:
    """Paint the eyes of a picture at the place and with the look of the result.

    Args:
        image: ``(S, S, 3)`` in [0, 1], the reference so far.
        source: ``(h, w, 3)`` in [0, 1], the picture that shows the eyes, of any resolution.
        source_points: ``(478, 3)`` in pixels of ``source``.
        result_points: ``(478, 3)`` in pixels of ``image``.
        turn: ``(2,)`` radians by which they are turned further than ``image`` has them already.
        whole: paint them even where they hardly move.
        covered: (right, left) eyes that hair falls over: the other one's mirror image is shown.

    Returns:
        The reference and where it was painted, ``(S, S)`` in [0, 1].
    """
    painted = np.zeros(image.shape[:2], np.float32)
    for eye, iris, hidden in zip(EYES, IRISES, covered, strict=True):
        lids, place = source_points[list(eye), :2], result_points[list(eye), :2]
        if min(eye_openness(lids), eye_openness(place)) < EYE_SHUT:
            continue
        mask = _polygon(place, image.shape[0], 1)
        box = box_about(place, image.shape, margin=0.25)
        if box is None:
            continue
        shown, points = source, source_points
        if hidden or _hardly_seen(source_points, result_points, eye):
            shown, points = source[:, ::-1], flipped(source_points, source.shape[1])
        found = _eye(shown, points, result_points, eye, iris, box)
        if found is None:
            continue
        patch, cover = found[0], 1.0 if whole or hidden else found[1]
        if turn is not None:
            cover = max(cover, _amount(EYEBALL_TO_IRIS * float(np.linalg.norm(turn))))
        rows, columns = slice(box[1], box[3]), slice(box[0], box[2])
        weight = (mask[rows, columns] * np.float32(cover))[..., None]
        image = image.copy()
        image[rows, columns] += (patch - image[rows, columns]) * weight
        painted[rows, columns] = np.maximum(painted[rows, columns], weight[..., 0])
    return image, painted


def _hardly_seen(source: Points, result: Points, eye: tuple[int, ...]) -> bool:
    """Whether an eye is turned away in its photo: then the mirror image of the other is better."""
    here, there = (
        float(np.linalg.norm(source[ring[0], :2] - source[ring[8], :2]))
        / max(float(np.linalg.norm(result[ring[0], :2] - result[ring[8], :2])), 1e-3)
        for ring in (eye, EYES[0] if eye is EYES[1] else EYES[1])
    )
    return here < _TURNED_AWAY * there


def recoloured_eyes(source: Floats, points: Points, colours: ColourMap) -> Floats:
    """A picture ``(h, w, 3)`` whose eyes, at landmarks in its pixels, have other colours."""
    result = source.copy()
    for eye in EYES:
        box = box_about(points[list(eye), :2], source.shape, margin=0.7)
        if box is not None:
            part = slice(box[1], box[3]), slice(box[0], box[2])
            result[part] = colours.apply(source[part])
    return result


def _eye(
    source: Floats,
    source_points: Points,
    result_points: Points,
    eye: tuple[int, ...],
    iris: tuple[int, ...],
    box: tuple[int, int, int, int],
) -> tuple[Floats, float] | None:
    """The eyeball in a box of the result, and how much it should cover what was there.

    None where too little of it is seen.
    """
    lids, place = source_points[list(eye), :2], result_points[list(eye), :2]
    own, own_radius = iris_disc(source_points, iris)
    there, radius = iris_disc(result_points, iris)
    opening = _polygon(lids, source.shape[0], -1, source.shape[1])
    # The white: everything between the lids that is no iris, carried on under the iris.
    v, u = np.mgrid[: source.shape[0], : source.shape[1]].astype(np.float32) + 0.5
    distance = np.hypot(u - own[0], v - own[1]) / own_radius
    white = opening * np.clip((distance - IRIS_RIM) / 0.15, 0, 1)
    if white.sum() < 0.06 * opening.sum() or opening.sum() < 12:
        return None
    near = box_about(lids, source.shape, margin=0.6)
    if near is None:
        return None
    part = (slice(near[1], near[3]), slice(near[0], near[2]))
    ball = push_pull(np.ascontiguousarray(source[part]), np.ascontiguousarray(white[part]))
    # From lid to lid by the affine map that fits best.
    y, x = np.mgrid[box[1] : box[3], box[0] : box[2]].astype(np.float32) + 0.5
    known = np.c_[place, np.ones(len(place))]
    affine = np.linalg.lstsq(known, lids, rcond=None)[0]
    at = np.stack([x, y, np.ones_like(x)], -1) @ affine
    map_x, map_y = (at[..., k] - near[k] - 0.5 for k in (0, 1))
    eyeball = cv2.remap(
        ball, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    polar = _iris_texture(source, opening, own, own_radius)
    far = np.hypot(x - there[0], y - there[1]) / radius
    angle = np.arctan2(y - there[1], x - there[0]) % (2 * np.pi)
    disc = cv2.remap(
        np.concatenate([polar, polar[:, :1]], 1),
        (angle / (2 * np.pi) * _SPOKES).astype(np.float32),
        (far / IRIS_RIM * _RINGS - 0.5).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    upper = place[:, 1].min()
    depth = np.clip((y - upper) / max(float(np.ptp(place[:, 1])), 1e-3), 0, 1)
    disc = disc * (1 - _LID_SHADE * np.clip(1 - depth / 0.45, 0, 1))[..., None]
    edge = max(0.1, 0.9 / radius)
    alpha = np.clip((IRIS_RIM - far) / edge, 0, 1)
    alpha = (alpha * alpha * (3 - 2 * alpha))[..., None]
    eyeball = eyeball + (disc - eyeball) * alpha
    # A small turn changes little, and then the warp is sharper.
    moved = np.linalg.norm(there - _carried(own, lids, place)) / radius
    return np.asarray(eyeball, np.float32), _amount(float(moved))


def _amount(moved: float) -> float:
    """How far an eye is painted whose iris moves by so many of its radii."""
    return float(np.clip((moved - 0.08) / 0.2, 0, 1))


def _iris_texture(source: Floats, opening: Floats, centre: Points, radius: float) -> Floats:
    """The iris by radius and angle ``(rings, spokes, 3)``; what lids cover comes from elsewhere."""
    ring = (np.arange(_RINGS, dtype=np.float32) + 0.5) / _RINGS * IRIS_RIM * radius
    turn = np.arange(_SPOKES, dtype=np.float32) / _SPOKES * 2 * np.pi
    map_x = centre[0] + ring[:, None] * np.cos(turn) - 0.5
    map_y = centre[1] + ring[:, None] * np.sin(turn) - 0.5
    maps = map_x.astype(np.float32), map_y.astype(np.float32)
    colours = cv2.remap(source, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # Between narrow lids nothing lies deep inside: half is seen, and what is hardly seen is lid.
    seen = np.clip((cv2.remap(opening, *maps, cv2.INTER_LINEAR) - 0.25) / 0.4, 0, 1)
    total = colours * seen[..., None]
    # The same height on the other side first, then below, then the ring's mean.
    spokes = np.arange(_SPOKES)
    for other in ((_SPOKES // 2 - spokes) % _SPOKES, -spokes % _SPOKES):
        lent, there = total[:, other], seen[:, other]
        total = total + lent * (1 - seen)[..., None]
        seen = seen + there * (1 - seen)
    amount = seen.sum(1)
    mean = total.sum(1) / np.maximum(amount, 1e-3)[:, None]
    for row in range(1, _RINGS):
        if amount[row] < 1:
            mean[row] = mean[row - 1]
    filled = total + mean[:, None] * (1 - seen)[..., None]
    return np.asarray(filled, np.float32)


def _carried(point: Points, source: Points, place: Points) -> Points:
    affine = np.linalg.lstsq(np.c_[source, np.ones(len(source))], place, rcond=None)[0]
    return np.asarray(np.array([*point, 1.0]) @ affine)


def _polygon(ring: Points, height: int, grow: int, width: int | None = None) -> Floats:
    """Inside of a lid edge, soft; ``grow`` -1 keeps off the lids, 1 is for painting."""
    mask = filled(ring, height, width)
    span = float(np.ptp(ring[:, 0]))
    if grow < 0:
        side = 2 * max(1, round(span * 0.03)) + 1
        mask = cv2.erode(mask, np.ones((side, side), np.uint8))
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.6, span * 0.025)), np.float32)
