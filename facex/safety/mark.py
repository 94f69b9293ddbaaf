# SPDX-License-Identifier: Apache-2.0
"""The invisible mark: 36 bits hidden in the brightness of an edited area, read blindly.

Embedding adds the tile of ``safety.lattice`` to R, G and B alike, stronger where the picture is
busy, times the mask: pixels with mask 0 keep their bytes. A mark unit is one pixel, in photos above
1.5 megapixels more, so that the mark survives the usual reduction of large photos. A few rounds of
feedback turn up the frequencies at which the picture itself speaks against the mark.

Reading decodes the candidates of ``safety.search``. Why false alarms are rare whatever the picture
shows: candidates are chosen by the synchronising frequencies alone, and the 384 signs of the
payload are independent of those. For a picture that knows nothing of the signs, the normalised
correlation T with one code word is a sum of random signs, for which Hoeffding's inequality gives
P(T > t) <= exp(-t^2 / 2). The union over all code words and all decoded candidates bounds the
probability of a false alarm; that bound is the p-value and must be below ``P_LIMIT``.

How small: ovals 200 px wide and 260 high are read after JPEG 70, resizing to half, or a crop of
10 %; from 150 px most are; at 120 px about half (``benchmarks/mark_robustness.py``). Turned or
mirrored pictures are not read.

The signs are public, so that anybody can read a mark; hence anybody can also make or remove one.
It tells honest people how a picture was made. It proves nothing against a forger: that is what
signed credentials are for (``safety.credentials``).
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import scipy.fft

from facex.errors import OptionError
from facex.safety import ecc
from facex.safety.lattice import (
    TILE,
    Complexes,
    Image,
    Plane,
    lattice,
    luma_of,
    read_at,
    residual_of,
    spectrum_of,
)
from facex.safety.search import CANDIDATES, refined, search

MARK_VERSION: Final = 1
TOOL_FACEX: Final = 0xFA
P_LIMIT: Final = 1e-5
"""A mark is reported below this probability of a false alarm for one whole picture."""
TARGET_PSNR: Final = 42.5
"""Strength: peak signal-to-noise ratio over the marked area, in dB, before rounding to bytes."""

_PIXELS: Final = 1_500_000
"""Larger photos are marked and read as if they were reduced to this many pixels."""
_LIMITS: Final = (_PIXELS, 4 * _PIXELS)
SMALLEST_SIDE: Final = 48
"""Pictures narrower than this are not searched."""
_SYNC_GAIN: Final = 1.25
_ROUNDS: Final = 3
_FEEDBACK_SIZE: Final = 768
_MOST_AREAS: Final = 32


@dataclass(frozen=True)
class Payload:
    """What a mark says.

    Attributes:
        edit_id: 24-bit random number of the edit; also written to the XMP packet.
        tool: 8-bit number of the program that made the edit.
        version: 4-bit version of this format.
    """

    edit_id: int
    tool: int = TOOL_FACEX
    version: int = MARK_VERSION

    def __post_init__(self) -> None:
        for name, value, bits in (
            ("edit_id", self.edit_id, 24), ("tool", self.tool, 8), ("version", self.version, 4),
        ):  # fmt: skip
            if not 0 <= value < 1 << bits:
                raise OptionError(f"mark {name} is {value}, expected 0 to {(1 << bits) - 1}")

    @classmethod
    def new(cls) -> Payload:
        """Return a payload with a fresh random edit id."""
        return cls(edit_id=secrets.randbits(24))

    def to_bits(self) -> ecc.Bits:
        """Return the 36 bits: version, tool, edit id."""
        return ecc.to_bits(self.version << 32 | self.tool << 24 | self.edit_id, ecc.PAYLOAD_BITS)

    @classmethod
    def from_bits(cls, bits: ecc.Bits) -> Payload:
        """Read 36 bits, ``(36,)``."""
        number = ecc.to_int(bits)
        return cls(number & 0xFFFFFF, number >> 24 & 0xFF, number >> 32)


def payload_of(edit_id: int) -> Payload:
    """Return what FaceX writes into a picture for an edit id of 24 bits."""
    return Payload(edit_id=edit_id)


@dataclass(frozen=True)
class MarkReading:
    """The answer of ``detect``.

    Attributes:
        found: a mark was read and a false alarm is less likely than ``P_LIMIT``.
        payload: its content, None when nothing was found.
        confidence: normalised correlation with the payload, 0 (noise) to 1 (perfect).
        p_value: upper bound of the probability that an unmarked picture gives such a reading.
        scale: size of the picture relative to its size when it was marked, None if not found.
    """

    found: bool
    payload: Payload | None
    confidence: float
    p_value: float
    scale: float | None = None


def _phases(payload: Payload) -> Plane:
    """Return the signs of all frequencies for a payload, ``(252, 2)``."""
    points = lattice()
    word = ecc.encode(payload.to_bits()).astype(np.float32) * 2 - 1
    signs = points.signs.copy()
    signs[points.sync :] *= word[points.bit]
    return signs


# --- embedding -----------------------------------------------------------------------------------


def _visibility(luma: Plane) -> Plane:
    """Return how strong the mark may be, relative: 0.8 on flat ground to 1.6 in rich texture."""
    detail = luma - cv2.GaussianBlur(luma, (0, 0), 2)
    # The smaller of two neighbourhoods: the ground beside a lone edge is not called busy.
    energy = np.minimum(
        cv2.GaussianBlur(np.minimum(detail * detail, 400), (0, 0), 3),
        2 * cv2.GaussianBlur(np.minimum(detail * detail, 100), (0, 0), 8),
    )
    visibility: Plane = np.clip(0.8 + np.sqrt(energy) / 8, 0.8, 1.6)
    return visibility


def _tiled(amplitudes: Plane, shape: tuple[int, int]) -> Plane:
    """Repeat the tile whose frequencies have the given (252, 2) amplitudes over a plane."""
    points = lattice()
    spectrum = np.zeros((TILE, TILE // 2 + 1), dtype=np.complex64)
    spectrum[points.ky, points.kx] = amplitudes[:, 0] + 1j * amplitudes[:, 1]
    tile = scipy.fft.irfft2(spectrum, s=(TILE, TILE)).astype(np.float32)
    repeats = (-(-shape[0] // TILE), -(-shape[1] // TILE))
    plane: Plane = np.tile(tile, repeats)[: shape[0], : shape[1]]
    return plane


def _heard(luma: Plane) -> Plane:
    """Read the amplitudes (252, 2) of the lattice from an aligned area, of mean square 1/2."""
    points = lattice()
    size = max(luma.shape)
    spectrum = spectrum_of(residual_of(luma), size)
    values = read_at(spectrum, size, points.ky / TILE, points.kx / TILE)
    turn = np.pi / TILE * (points.kx * luma.shape[1] + points.ky * luma.shape[0])
    values = values * np.exp(-1j * turn)
    values /= math.sqrt(float(np.mean(np.abs(values) ** 2))) + 1e-9
    return np.stack([values.real, values.imag], 1).astype(np.float32)


def _pattern(luma: Plane, mask: Plane, signs: Plane) -> Plane:
    """Return the change of the luma in mark units, with the picture's own voice compensated."""
    visibility = _visibility(luma) * mask
    budget = 255 / 10 ** (TARGET_PSNR / 20) * math.sqrt(float(mask.sum()))
    gains = np.ones_like(signs)
    gains[: lattice().sync] = _SYNC_GAIN
    wanted = gains * math.sqrt(0.5 / float(np.mean(gains**2)))
    # A large area drowns the picture's own voice without help.
    rounds = _ROUNDS if max(luma.shape) <= _FEEDBACK_SIZE else 0
    for left in range(rounds, -1, -1):
        pattern = _tiled(signs * gains, luma.shape) * visibility
        pattern *= budget / (float(np.linalg.norm(pattern)) + 1e-9)
        if left:
            missing = wanted - _heard(luma + pattern) * signs
            gains = np.clip(gains + 0.6 * missing, 0.3, 3.0).astype(np.float32)
    return pattern


def _unit(shape: tuple[int, int], covered: float) -> float:
    """Return the size of a mark unit in pixels for a photo and the marked number of pixels."""
    by_photo = math.sqrt(shape[0] * shape[1] / _PIXELS)
    return min(max(1.0, min(by_photo, math.sqrt(covered) / 256)), 4.0)


def embed(rgb: Image, payload: Payload, mask: Plane | None = None) -> Image:
    """Hide a payload in a picture.

    Args:
        rgb: ``(H, W, 3)`` uint8.
        payload: what the mark shall say.
        mask: ``(H, W)`` float in [0, 1], where and how strongly the picture may change; None
            means everywhere. Pixels with mask 0 keep their bytes.

    Returns:
        ``(H, W, 3)`` uint8, a new array.

    Raises:
        OptionError: the arrays do not have the shapes above.
    """
    _check_picture(rgb)
    height, width = rgb.shape[:2]
    if mask is None:
        mask = np.ones((height, width), dtype=np.float32)
    if mask.shape != (height, width):
        raise OptionError(f"the mask is {mask.shape}, the picture {(height, width)}")
    mask = np.nan_to_num(np.clip(mask, 0, 1)).astype(np.float32)
    marked = rgb.copy()
    unit = _unit((height, width), float(mask.sum()))
    signs = _phases(payload)
    for box, part in _areas(mask):
        change = np.where(part > 0, np.rint(_change(luma_of(rgb[box]), part, unit, signs)), 0)
        marked[box] = np.clip(marked[box] + change[..., None], 0, 255).astype(np.uint8)
    return marked


def _areas(mask: Plane) -> list[tuple[tuple[slice, slice], Plane]]:
    """Cut a mask into its connected areas, so that each of several faces can be read alone."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((mask > 0).astype(np.uint8))
    if count > _MOST_AREAS:
        labels, stats = np.minimum(labels, 1), [None, (0, 0, *mask.shape[::-1])]
    areas = []
    for label in range(1, len(stats)):
        left, top, width, height = (int(number) for number in stats[label][:4])
        box = slice(top, top + height), slice(left, left + width)
        areas.append((box, np.where(labels[box] == label, mask[box], 0).astype(np.float32)))
    return areas


def _change(luma: Plane, mask: Plane, unit: float, signs: Plane) -> Plane:
    """Return the change of the luma, made at the size of mark units and enlarged."""
    if unit == 1:
        return _pattern(luma, mask, signs)
    small = max(1, round(luma.shape[1] / unit)), max(1, round(luma.shape[0] / unit))
    luma_small, mask_small = (
        cv2.resize(p, small, interpolation=cv2.INTER_AREA) for p in (luma, mask)
    )
    pattern = _pattern(luma_small, mask_small, signs)
    change: Plane = cv2.resize(pattern, luma.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return change


# --- reading -------------------------------------------------------------------------------------


def _decoded(aligned: Complexes) -> tuple[Payload, float] | None:
    """Decode aligned readings ``(252,)``; return the payload and the correlation T."""
    points = lattice()
    data = aligned[points.sync :]
    soft = np.stack([data.real, data.imag], 1).astype(np.float64) * points.signs[points.sync :]
    bits = np.bincount(points.bit.ravel(), soft.ravel(), minlength=ecc.CODE_BITS).astype(np.float64)
    decoded = ecc.decode(bits)
    if decoded is None:
        return None
    word = decoded[1].astype(np.float64) * 2 - 1
    payload = Payload.from_bits(decoded[0])
    if payload.version != MARK_VERSION:
        return None
    return payload, float((soft * word[points.bit]).sum() / (np.linalg.norm(soft) + 1e-9))


def p_value(correlation: float) -> float:
    """Bound the probability of a false alarm.

    Args:
        correlation: T, the normalised correlation of 384 readings with the best code word.

    Returns:
        28 * 2^32 * exp(-T^2 / 2), at most 1: at most 28 candidates of a picture are decoded, and
        2^32 payloads of this version exist.
    """
    logarithm = math.log(len(_LIMITS) * CANDIDATES) + 32 * math.log(2) - correlation**2 / 2
    return math.exp(min(0.0, logarithm))


def detect(rgb: Image) -> MarkReading:
    """Look for a mark in a picture, without knowing where, how large or what it says.

    Args:
        rgb: ``(H, W, 3)`` uint8.

    Returns:
        The reading.

    Raises:
        OptionError: not such an array.
    """
    _check_picture(rgb)
    best = MarkReading(found=False, payload=None, confidence=0.0, p_value=1.0)
    if min(rgb.shape[:2]) < SMALLEST_SIDE:
        return best
    luma = luma_of(rgb)
    for limit in _LIMITS:
        residual, factor = _reduced(luma, limit)
        for candidate in search(residual):
            aligned, scale = refined(residual, candidate)
            decoded = _decoded(aligned)
            if decoded is None:
                continue
            payload, correlation = decoded
            chance = p_value(correlation)
            confidence = correlation / math.sqrt(2 * (len(aligned) - lattice().sync))
            if chance < P_LIMIT:
                return MarkReading(True, payload, confidence, chance, scale / factor)
            if chance < best.p_value:
                best = MarkReading(False, None, confidence, chance)
        if factor == 1:
            break
    return best


def _reduced(luma: Plane, limit: int) -> tuple[Plane, float]:
    """Return the residual of a picture of at most ``limit`` pixels, and its relative size."""
    factor = min(1.0, math.sqrt(limit / luma.size))
    if factor < 1:
        width, height = round(luma.shape[1] * factor), round(luma.shape[0] * factor)
        luma = cv2.resize(luma, (max(1, width), max(1, height)), interpolation=cv2.INTER_AREA)
    return residual_of(luma), factor


def _check_picture(rgb: Image) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise OptionError(f"a mark needs a uint8 picture (H, W, 3), got {rgb.dtype} {rgb.shape}")
