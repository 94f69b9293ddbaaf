# SPDX-License-Identifier: Apache-2.0
"""Filling of unknown pixels: smoothly (push-pull pyramid), or with a lender's texture."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.morphology import weighted_mean

Floats = NDArray[np.float32]

_SURE: Final = 0.99
"""From here on a pixel is known for its texture."""
_DEPTH: Final = 0.1
"""How far from a hole its texture comes from, as a share of the larger side."""
_ROUGH: Final = 0.03
"""Deviation of the blur below which structure is texture, as a share of the larger side."""
_USUALLY: Final = 4.0
"""How much rougher than half of what is around texture may be."""
_LEAST_LENT: Final = 0.05
_LEAST_SHARED: Final = 0.01
"""Share of the picture that both must show before their colours can be compared."""
_SMOOTH: Final = 0.02
"""Width of what counts as smooth, as a share of the picture's side."""
_SMOOTH_SIDE: Final = 256
"""Side at which smooth differences are found."""
_WIDE: Final = 4
"""How many times wider the surroundings are by which a difference is odd."""
_ODD: Final = 0.15
"""Difference from the surroundings, RGB in [0, 1], beyond which it counts little."""
_BRIGHTEST: Final = 0.99
"""Quantile of the smooth brightness of what is known that what is lent may reach."""
_USUAL: Final = 0.97
"""Quantile of its smooth tints that what is lent may reach."""
_FLOOR: Final = 0.1
"""Brightness, of 1, that is added to all before factors are compared: black has none."""
_TINT: Final = 0.08
"""The same for a difference of tint from the whole of what both show."""


def push_pull(image: Floats, known: Floats) -> Floats:
    """Extend known pixels smoothly over unknown ones.

    Averages travel down a pyramid over the known pixels and come back up where nothing is known:
    a membrane-like interpolation in linear time.

    Args:
        image: ``(H, W, 3)`` of any range; values where ``known`` is 0 do not matter.
        known: ``(H, W)`` in [0, 1].

    Returns:
        ``(H, W, 3)``; equal to ``image`` where ``known`` is 1.
    """
    if known.min() >= 1 or known.max() <= 0:
        return image.copy()
    return _level(image * known[..., None], known)


def textured(image: Floats, known: Floats) -> Floats:
    """Extend known pixels over unknown ones with their texture, not only smoothly.

    What is rough beside a hole goes on inside it, mirrored at its edge, again and again: leaves or
    a brick wall that end in a smooth patch tell that something was there.

    Args:
        image: ``(H, W, 3)`` in [0, 1]; values where ``known`` is 0 do not matter.
        known: ``(H, W)`` in [0, 1].

    Returns:
        ``(H, W, 3)``; equal to ``image`` where ``known`` is 1.
    """
    smooth = push_pull(image, known)
    sure = known > _SURE
    if sure.all() or not sure.any():
        return smooth
    depth = max(_DEPTH * max(known.shape), 1.0)
    far, nearest = _nearest(sure)
    # Forth and back within what is next to the edge.
    back = (depth - np.abs(far % (2 * depth) - depth)) / np.maximum(far, 1)
    here = np.stack(np.meshgrid(*map(np.arange, known.shape[::-1])), -1)
    places = nearest + back[..., None] * (nearest - here)
    rough = (image - _mean(image, sure)) * sure[..., None]
    near = sure & (cv2.distanceTransform(sure.astype(np.uint8), cv2.DIST_L2, 5) < 2 * depth)
    # What is there once, somebody's ear, is no texture.
    most = _USUALLY * np.median(np.abs(rough[near]), axis=0)
    rough = np.clip(rough, -most, most)
    found = cv2.remap(rough, places.astype(np.float32), None, cv2.INTER_LINEAR)
    filled = np.clip(smooth + found, 0, 1)
    return np.asarray(filled + (image - filled) * known[..., None], np.float32)


def _nearest(known: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.int64]]:
    """Distance to what is known ``(H, W)``, and its nearest place ``(H, W, 2)``: x and y.

    SciPy's is exact and many times slower, at the size of a photo.
    """
    far, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    places = np.zeros((int(labels.max()) + 1, 2), np.int64)
    places[labels[known]] = np.argwhere(known)[:, ::-1]
    return np.asarray(far, np.float32), places[labels]


def _mean(image: Floats, known: NDArray[np.bool_]) -> Floats:
    """The smooth part of what is known of a picture ``(H, W, 3)``, found at a small size."""
    whole = known.astype(np.float32)
    weight, small = _small(whole, image)
    mean, _ = weighted_mean(small, weight, _ROUGH * max(weight.shape))
    return _as_large_as(whole, mean)


def borrow(
    image: Floats,
    known: Floats,
    lender: Floats,
    usable: Floats,
    trust: float,
    *,
    match: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Fill unknown pixels with another picture's texture in the colours of what is around them.

    The smooth part of the factor between the two, where both are known, is continued into the hole
    and taken by the lender: its detail, but no border to be seen.

    Args:
        image: ``(H, W, 3)`` in [0, 1].
        known: ``(H, W)`` in [0, 1].
        lender: ``(H, W, 3)`` in [0, 1].
        usable: ``(H, W)`` in [0, 1], where the lender shows what is wanted.
        trust: how known a borrowed pixel is, 0 to 1.
        match: ``(H, W)`` in [0, 1], where the two show the same kind of thing, by which the lender
            is brought to the colours of the surroundings; None leaves it as it is.

    Returns:
        The image and how far it is known now.
    """
    lent = (1 - known) * usable
    if lent.max() < _LEAST_LENT:
        return image, known
    filled = lender
    if match is not None:
        both = known * usable * match
        if both.sum() < _LEAST_SHARED * both.size:
            return image, known
        gain = smooth_gain(image, lender, both)
        filled = lit(lender, _no_odder(gain, lender, image, both))
    blend = (known / np.maximum(known + lent, 1e-4))[..., None]
    blend = np.where(lent[..., None] > 0, blend, np.float32(1))
    mixed = image * blend + filled * (1 - blend)
    return mixed.astype(np.float32), np.asarray(known + lent * trust, np.float32)


def _no_odder(gain: Floats, lender: Floats, image: Floats, both: Floats) -> Floats:
    """A gain that makes a lender nowhere, smoothly, what a picture that it is lent to is nowhere.

    One that is continued into a hole meets brighter skin there than where it was found; and of two
    people in coloured light one may be redder where they are compared: in the hole it turns blue.
    """
    sigma = both.shape[0] * _SMOOTH
    seen, _ = weighted_mean(image, both, sigma)
    usual = seen[both > 0.5 * both.max()]
    light = cv2.GaussianBlur((lender + np.float32(_FLOOR)) * gain, (0, 0), sigma)
    most = float(np.quantile(usual.mean(-1), _BRIGHTEST))
    darker = np.minimum((most + _FLOOR) / light.mean(-1), 1)[..., None]
    ends = np.quantile(_tint(_tones(usual)), (1 - _USUAL, _USUAL), axis=0)
    tint = _tint(_tones(light - np.float32(_FLOOR)))
    return np.asarray(gain * darker * np.exp(2 * (np.clip(tint, *ends) - tint)), np.float32)


def smooth_gain(image: Floats, lender: Floats, both: Floats) -> Floats:
    """How many times lighter a picture is than a lender, smoothly, and where only one shows, too.

    Light multiplies: added to a lender, a difference would leave what is dark beside a bright
    border deeply coloured.

    Args:
        image: ``(H, W, 3)`` in [0, 1].
        lender: likewise.
        both: ``(H, W)`` in [0, 1], where both show the same kind of thing.

    Returns:
        ``(H, W, 3)``, for :func:`lit`.
    """
    weight, image, lender = _small(both, image, lender)
    gain = np.exp(2 * _smooth_difference(_tones(image), _tones(lender), weight))
    return _as_large_as(both, gain)


def _small(weight: Floats, *images: Floats) -> tuple[Floats, ...]:
    """A weight ``(H, W)`` and the pictures that it weighs, at a size that smooth things need."""
    height, width = weight.shape
    scale = _SMOOTH_SIDE / max(height, width)
    if scale >= 1:
        return weight, *images
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    less = np.asarray(cv2.resize(weight, size, interpolation=cv2.INTER_AREA), np.float32)
    return less, *(
        cv2.resize(image * weight[..., None], size, interpolation=cv2.INTER_AREA)
        / np.maximum(less, 1e-4)[..., None]
        for image in images
    )


def _as_large_as(weight: Floats, small: Floats) -> Floats:
    """What was found at the size of :func:`_small`, at that of the weight."""
    if small.shape[:2] != weight.shape:
        small = cv2.resize(small, weight.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(small, np.float32)


def lit(picture: Floats, gain: Floats) -> Floats:
    """A picture ``(H, W, 3)`` in [0, 1] in the light of :func:`smooth_gain`."""
    return np.clip((picture + np.float32(_FLOOR)) * gain - np.float32(_FLOOR), 0, 1)


def _tint(tones: Floats) -> Floats:
    """What of tones ``(..., 3)`` is no brightness."""
    return tones - tones.mean(-1, keepdims=True)


def _tones(image: Floats) -> Floats:
    """Colours on a scale on which light adds: a logarithm, in steps about as large as theirs."""
    return np.asarray(0.5 * np.log(np.maximum(image, 0) + _FLOOR), np.float32)


def _smooth_difference(image: Floats, lender: Floats, both: Floats) -> Floats:
    """The smooth part of a difference, continued where only one shows."""
    gap = image - lender
    # Nor is what has another tint than the rest: a lock that was called skin, its shadow.
    tint = _tint(gap)
    tint = np.linalg.norm(tint - _median(tint, both), axis=-1) / _TINT
    both = np.asarray(both * np.exp(-np.square(tint)), np.float32)
    sigma = both.shape[0] * _SMOOTH
    wide, _ = weighted_mean(gap, both, _WIDE * sigma)
    # A strand of hair or a wrinkle of one of them is not a difference of light.
    odd = np.linalg.norm(gap - wide, axis=-1) / _ODD
    both = np.asarray(both * np.exp(-np.square(odd)), np.float32)
    difference, weight = weighted_mean(gap, both, sigma)
    return push_pull(difference, (weight > _LEAST_LENT).astype(np.float32))


def _median(values: Floats, weight: Floats) -> Floats:
    """Median ``(C,)`` of ``(H, W, C)`` where the weight is most of what it can be."""
    sure = weight > 0.5 * weight.max()
    return np.asarray(np.median(values[sure], axis=0), np.float32)


def _level(weighted: Floats, weight: Floats) -> Floats:
    height, width = weight.shape
    if min(height, width) <= 2:
        total = max(float(weight.sum()), 1e-6)
        mean = weighted.sum((0, 1)) / total
        return np.broadcast_to(mean, weighted.shape).astype(np.float32)
    half = (max(1, width // 2), max(1, height // 2))
    small = cv2.resize(weighted, half, interpolation=cv2.INTER_AREA)
    small_weight = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    # A little certainty from below is enough: saturate, so that holes close within few levels.
    boost = np.minimum(1.0, 4.0 * small_weight) / np.maximum(small_weight, 1e-6)
    coarse = _level(small * boost[..., None], small_weight * boost)
    up = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return weighted + up * (1 - weight[..., None])
