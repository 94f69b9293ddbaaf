# SPDX-License-Identifier: Apache-2.0
"""Move a source's colours to the target's light (DESIGN 4).

Two steps, both smooth and both the same at every resolution: the skin's mean and spread in CIELAB
are matched, then the low frequencies of lightness are taken from the target where both show skin,
which carries the direction of the light without any of the target's features. A difference of the
means that no light explains is complexion: most of it stays, and the bare skin of the target that
stays in the picture is toned by it instead (:meth:`ColourMap.rest`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.fors.exposure import Exposure, light_between

Floats = NDArray[np.float32]

_MIN_PIXELS: Final = 80
_COMPLEXION: Final = np.array([15.0, 7.0, 9.0], np.float32)
"""Differences of mean skin in L, a, b that are taken for light alone."""
_HUES: Final = (0.56, 1.15)
"""Hue angles of skin in CIELAB, radians: 90 % of 900 means lie in .49 to 1.12."""
_TAKEN: Final = 0.2
"""Share of what is beyond that is taken all the same, as the two are not told apart surely."""
_GLOW: Final = (1.5, 3.0)
"""Most chroma after a change of light: in shares of what that light would make of it, and more."""
_SHINE: Final = 0.25
"""Share by which lightness above a brightened mean is held back."""
_MEANS: Final = (8.0, 92.0)
"""Limits of mean lightness that is moved."""
_COLOURED: Final = 12.0
"""Chroma of a mean from which on neutral pixels are highlights, not skin in coloured light."""
_ONE_TONE: Final = 1.2
"""Spread of a, b of skin about what lightness explains of them: of 1,250 photos none is below 1.8,
and no black-and-white, sepia or toned one is above."""
_LEAST_SHARE: Final = 0.25
_MOST_SHARE: Final = 1.25
_GRID: Final = 64
"""Side of the grid on which the shading gain is computed."""


@dataclass(frozen=True)
class ColourMap:
    """A map of CIELAB that leaves white and neutral highlights what they are, and a smooth gain.

    Attributes:
        pivot: (3,) the mean colour that is moved.
        scale: (3,) factor per channel on the distance from it.
        gap: (3,) by which the mean is moved.
        left: (3,) by which it is then still off the target's mean: complexion.
        lamp: (3,) of the gap, what is the colour of the lights.
        aim: (3,) the target's mean; zeros stand for ``pivot + gap + left``.
        gain: (64, 64) factor on lightness over the result's crop, or None.
        toned: the target is a picture of one tone; everything takes that tone.
    """

    pivot: Floats
    scale: Floats
    gap: Floats
    gain: Floats | None = None
    left: Floats = field(default_factory=lambda: np.zeros(3, np.float32))
    aim: Floats = field(default_factory=lambda: np.zeros(3, np.float32))
    lamp: Floats = field(default_factory=lambda: np.zeros(3, np.float32))
    toned: bool = False

    def apply(self, image: Floats) -> Floats:
        """Recolour an ``(H, W, 3)`` RGB image in [0, 1]."""
        lab = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB)
        chroma = lab[..., 1:]
        share = self._share(chroma)[..., None]
        moved = (chroma - self.pivot[1:]) * self.scale[1:] + self.pivot[1:]
        moved = moved + (self.gap - self.lamp)[1:] * share
        # Another lamp colours everything, as far as it is lit.
        lit = np.clip(lab[..., :1] / max(float(self.pivot[0]), 1.0), 0, _MOST_SHARE)
        moved = moved + self.lamp[1:] * lit
        light = self.lightness(lab[..., 0])
        if self.gain is not None:
            size = (image.shape[1], image.shape[0])
            light = light * cv2.resize(self.gain, size, interpolation=cv2.INTER_CUBIC)
        # Less light is less colour, too: in deep shadow nothing glows.
        own = _length(chroma) * (light + 16) / (lab[..., 0] + 16)
        own = own + float(_length(self.lamp[1:])) * np.minimum(lit[..., 0], 1)
        most = _GLOW[0] * np.maximum(own, 0) + _GLOW[1]
        moved = moved * np.minimum(most / np.maximum(_length(moved), 1e-3), 1)[..., None]
        lab = np.concatenate([np.clip(light, 0, 100)[..., None], moved], axis=-1)
        rgb = cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB)
        return np.clip(rgb, 0, 1)

    def lightness(self, light: Floats) -> Floats:
        """Lightness 0 to 100 without the gain, black and white staying what they are.

        More light multiplies luminance; towards white it gives way. The odds of luminance are
        multiplied, so that shadows stay as deep as under a brighter lamp.
        """
        mean = float(self.pivot[0])
        spread = np.clip((light - mean) * self.scale[0] + mean, 0, 100)
        old, new = (np.clip(x, *_MEANS) for x in (mean, mean + float(self.gap[0])))
        factor = _odds(_luminance(new)) / _odds(_luminance(old))
        y = _luminance(spread)
        moved = _lightness(factor * y / (1 + (factor - 1) * y))
        # Highlights of dark skin are the lamp's mirror image: they grow less than the skin does.
        shine = np.maximum(moved - new, 0) * (_SHINE if new > old else 0)
        return np.asarray(moved - shine, np.float32)

    def plain(self) -> ColourMap:
        """For what keeps its own colour (hair, frames): the strength of the light, in part."""
        light = np.float32(1 + 0.5 * (np.clip(self.scale[0], 0.8, 1.25) - 1))
        zero = np.zeros(3, np.float32)
        if self.toned:
            pivot = np.array([self.pivot[0], 0, 0], np.float32)
            return ColourMap(
                pivot, np.array([light, 0, 0], np.float32), self.lamp, lamp=self.lamp, toned=True
            )
        return ColourMap(zero, np.array([light, 1, 1], np.float32), zero)

    def at(self, place: Floats) -> ColourMap:
        """The map with one gain everywhere: its mean over a place ``(H, W)`` in [0, 1]."""
        if self.gain is None or place.sum() <= 0:
            return replace(self, gain=None)
        there = cv2.resize(place, self.gain.shape[::-1], interpolation=cv2.INTER_AREA)
        mean = float((self.gain * there).sum() / max(float(there.sum()), 1e-6))
        return replace(self, gain=np.full_like(self.gain, mean))

    def rest(self) -> ColourMap:
        """The map that gives the target's own skin the complexion of what is put into it."""
        mean = self.aim if self.aim.any() else self.pivot + self.gap + self.left
        return ColourMap(mean, np.ones(3, np.float32), -self.left)

    def _share(self, chroma: Floats) -> Floats:
        """How much of the gap of colour a pixel takes: what has none of the mean's takes little."""
        mean = self.pivot[1:]
        length = float(mean @ mean)
        share = np.clip(chroma @ mean / max(length, 1e-3), _LEAST_SHARE, _MOST_SHARE)
        trust = min(1.0, length**0.5 / _COLOURED)
        return np.asarray(1 + (share - 1) * trust, np.float32)


def _length(chroma: Floats) -> Floats:
    return np.asarray(np.hypot(chroma[..., 0], chroma[..., 1]), np.float32)


def match_light(
    source: Floats,
    source_skin: Floats,
    target: Floats,
    target_skin: Floats,
    *,
    keep: bool = True,
    exposures: tuple[Exposure, Exposure] | None = None,
    spread: tuple[float, float] = (0.85, 1.2),
    shading: float = 0.7,
) -> ColourMap | None:
    """The map that gives a warped source the light of the target.

    Args:
        source: ``(H, W, 3)`` RGB in [0, 1], already in the result's place.
        source_skin: ``(H, W)`` in [0, 1], where it shows skin.
        target: ``(H, W, 3)`` RGB in [0, 1].
        target_skin: ``(H, W)`` in [0, 1].
        keep: whether the source keeps its complexion.
        exposures: of the source's photo and of the target; without, skin alone has to tell.
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
    whole = mean_t - mean_s
    lamp = (mean_t - _as_skin(mean_t)) - (mean_s - _as_skin(mean_s))
    toned = _one_tone(lab_t, target_skin)
    if toned or _one_tone(lab_s, source_skin):
        # No colour of theirs is complexion: it is the paper's, or the filter's.
        lamp = np.array([lamp[0], *(mean_t if toned else whole)[1:]], np.float32)
        if toned:
            mean_s = np.array([mean_s[0], 0, 0], np.float32)
            whole = mean_t - mean_s
    if not keep:
        gap = whole
    elif exposures is None:
        gap = _tempered(whole - lamp) + lamp
    else:
        gap = light_between(*exposures, whole, lamp)
    moved = ColourMap(mean_s, np.ones(3, np.float32), gap).lightness(lab_s[..., 0])
    std_s[0] = _moments(moved[..., None], source_skin)[1][0]
    scale = np.clip(std_t / np.maximum(std_s, 1e-3), *spread)
    # The spread of the colour channels is mostly complexion (lips, freckles): change it less.
    scale[1:] = 0 if toned else np.sqrt(scale[1:])
    plain = ColourMap(
        mean_s, scale.astype(np.float32), gap, left=whole - gap, lamp=lamp, toned=toned
    )
    if shading <= 0:
        return _told(plain, source, source_skin, mean_t) if keep else plain
    # Shadows are compared, not complexions.
    light, other = plain.lightness(lab_s[..., 0]), plain.rest().lightness(lab_t[..., 0])
    gain = _shading_gain(light, source_skin, other, target_skin, shading)
    lit = replace(plain, gain=gain)
    return _told(lit, source, source_skin, mean_t) if keep else lit


def _told(colours: ColourMap, source: Floats, skin: Floats, mean: Floats) -> ColourMap:
    """The map, with what is really left of the gap once limits of colour have had their say."""
    lab = cv2.cvtColor(np.ascontiguousarray(colours.apply(source)), cv2.COLOR_RGB2LAB)
    return replace(colours, left=mean - _moments(lab, skin)[0], aim=mean)


def _tempered(gap: Floats) -> Floats:
    """Of a gap of CIELAB means what light explains, and little of the rest: it is complexion."""
    beyond = np.maximum(np.abs(gap) - _COMPLEXION, 0)
    return np.asarray(gap - np.sign(gap) * beyond * np.float32(1 - _TAKEN), np.float32)


def _as_skin(mean: Floats) -> Floats:
    """A mean colour with the nearest hue that skin has in white light.

    No skin is blue or green, whosever it is: what takes a mean off those hues is the colour of its
    light, which goes in full from one photo and comes in full with the other.
    """
    chroma = float(np.hypot(mean[1], mean[2]))
    hue = np.clip(np.arctan2(mean[2], mean[1]), *_HUES)
    return np.array([mean[0], chroma * np.cos(hue), chroma * np.sin(hue)], np.float32)


def _one_tone(lab: Floats, skin: Floats) -> bool:
    """Whether a picture is black and white, sepia or of another single tone, judged by its skin."""
    inside = lab[skin > 0.5]
    if len(inside) < _MIN_PIXELS:
        return False
    light = np.stack([inside[:, 0], np.ones(len(inside), np.float32)], 1)
    found, *_ = np.linalg.lstsq(light, inside[:, 1:], rcond=None)
    return float((inside[:, 1:] - light @ found).std(0).mean()) < _ONE_TONE


def _luminance(light: Floats | float) -> Floats:
    """CIELAB lightness 0 to 100 to relative luminance 0 to 1."""
    root = (np.asarray(light, np.float32) + 16) / 116
    return np.asarray(
        np.where(root > 6 / 29, root**3, (root - 4 / 29) * 3 * (6 / 29) ** 2), np.float32
    )


def _lightness(luminance: Floats) -> Floats:
    """The inverse of :func:`_luminance`."""
    high = np.cbrt(luminance)
    low = luminance / (3 * (6 / 29) ** 2) + 4 / 29
    return np.asarray(116 * np.where(luminance > (6 / 29) ** 3, high, low) - 16, np.float32)


def _odds(share: Floats) -> float:
    return float(share / (1 - share))


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
