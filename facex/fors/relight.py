# SPDX-License-Identifier: Apache-2.0
"""Move a source's colours to the target's light (DESIGN 4).

Two steps, both smooth and both the same at every resolution: the skin's mean and spread in CIELAB
are matched, then the low frequencies of lightness are taken from the target where both show skin,
which carries the direction of the light without any of the target's features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_MIN_PIXELS: Final = 80
_COMPLEXION: Final = np.array([22.0, 10.0, 14.0], np.float32)
"""Differences of mean skin in L, a, b that are taken for light alone."""
_GRID: Final = 64
"""Side of the grid on which the shading gain is computed."""


@dataclass(frozen=True)
class ColourMap:
    """An affine map per CIELAB channel and a smooth gain of lightness.

    Attributes:
        scale: (3,) factor per channel.
        shift: (3,) added after it.
        gain: (64, 64) factor on lightness over the result's crop, or None.
    """

    scale: Floats
    shift: Floats
    gain: Floats | None = None

    def apply(self, image: Floats) -> Floats:
        """Recolour an ``(H, W, 3)`` RGB image in [0, 1]."""
        lab = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB)
        lab = lab * self.scale + self.shift
        if self.gain is not None:
            size = (image.shape[1], image.shape[0])
            lab[..., 0] *= cv2.resize(self.gain, size, interpolation=cv2.INTER_CUBIC)
        lab[..., 0] = np.clip(lab[..., 0], 0, 100)
        rgb = cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB)
        return np.clip(rgb, 0, 1)


def match_light(
    source: Floats,
    source_skin: Floats,
    target: Floats,
    target_skin: Floats,
    *,
    spread: tuple[float, float] = (0.75, 1.35),
    shading: float = 0.7,
) -> ColourMap | None:
    """The map that gives a warped source the light of the target.

    Args:
        source: ``(H, W, 3)`` RGB in [0, 1], already in the result's place.
        source_skin: ``(H, W)`` in [0, 1], where it shows skin.
        target: ``(H, W, 3)`` RGB in [0, 1].
        target_skin: ``(H, W)`` in [0, 1].
        spread: limits of the factor on each channel's standard deviation.
        shading: how much of the target's low-frequency lightness is taken, 0 to 1.

    Returns:
        The map, or None when either shows too little skin to judge.
    """
    if source_skin.sum() < _MIN_PIXELS or target_skin.sum() < _MIN_PIXELS:
        return None
    lab_s = cv2.cvtColor(np.ascontiguousarray(source), cv2.COLOR_RGB2LAB)
    lab_t = cv2.cvtColor(np.ascontiguousarray(target), cv2.COLOR_RGB2LAB)
    mean_s, std_s = _moments(lab_s, source_skin)
    mean_t, std_t = _moments(lab_t, target_skin)
    scale = np.clip(std_t / np.maximum(std_s, 1e-3), *spread)
    # The spread of the colour channels is mostly complexion (lips, freckles): change it less.
    scale[1:] = np.sqrt(scale[1:])
    shift = mean_s + _tempered(mean_t - mean_s) - mean_s * scale
    gain = None
    if shading > 0:
        light = lab_s[..., 0] * scale[0] + shift[0]
        gain = _shading_gain(light, source_skin, lab_t[..., 0], target_skin, shading)
    return ColourMap(scale.astype(np.float32), shift.astype(np.float32), gain)


def _tempered(gap: Floats) -> Floats:
    """A gap of CIELAB means, the part beyond what light explains halved: it is complexion."""
    beyond = np.maximum(np.abs(gap) - _COMPLEXION, 0)
    return np.asarray(gap - np.sign(gap) * beyond * np.float32(0.5), np.float32)


def _moments(lab: Floats, mask: Floats) -> tuple[Floats, Floats]:
    weight = mask[..., None] / mask.sum()
    mean = (lab * weight).sum((0, 1))
    std = np.sqrt((((lab - mean) ** 2) * weight).sum((0, 1)))
    return mean.astype(np.float32), std.astype(np.float32)


def _shading_gain(
    light: Floats, skin: Floats, target: Floats, target_skin: Floats, amount: float
) -> Floats:
    both = cv2.resize(skin * target_skin, (_GRID, _GRID), interpolation=cv2.INTER_AREA)
    small = [cv2.resize(x, (_GRID, _GRID), interpolation=cv2.INTER_AREA) for x in (light, target)]
    sigma = _GRID * 0.11
    weight = cv2.GaussianBlur(both, (0, 0), sigma)
    low = [cv2.GaussianBlur(x * both, (0, 0), sigma) / np.maximum(weight, 1e-4) for x in small]
    ratio = np.clip(low[1], 2, None) / np.clip(low[0], 2, None)
    trust = weight / (weight + 0.03)
    gain = np.exp(np.log(np.clip(ratio, 0.4, 2.5)) * amount * trust)
    return np.asarray(cv2.GaussianBlur(gain, (0, 0), _GRID * 0.03), np.float32)
