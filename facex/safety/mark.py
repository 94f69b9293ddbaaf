# SPDX-License-Identifier: Apache-2.0
"""The invisible mark: 36 bits hidden in the brightness of an edited area, found without keys.

The mark is a tile of 64 x 64 *mark units* that repeats over the area. Its spectrum lives on a
lattice of frequencies with periods between 5 and 21 units: 60 of them carry fixed phases
(synchronisation), 192 carry the payload: 384 signs, four for each bit of the code word
(``safety.ecc``). A unit is one pixel, in photos above 1.5 megapixels more, so that the mark
survives the usual reduction of large photos.

Embedding adds the tile to R, G and B alike, stronger where the picture is busy, times the mask:
pixels with mask 0 keep their bytes. A few rounds of feedback turn up the frequencies at which the
picture itself speaks against the mark.

Reading needs no resampling. Each window of the picture is transformed once; for each of some
hundred scales the spectrum is read off at the lattice, and one small inverse transform compares it
with the synchronisation phases at all shifts. The best hypotheses are refined and decoded.

Why false alarms are rare whatever the picture shows: candidates are chosen by the synchronisation
phases alone, and the 384 secret signs of the payload are independent of those. For a picture that
knows nothing of the signs, the normalised correlation T with any one code word is a sum of random
signs, for which Hoeffding's bound gives P(T > t) <= exp(-t^2 / 2). A union bound over the code words
and the decoded candidates makes this the p-value that is reported and compared with ``P_LIMIT``.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import scipy.fft

from facex.errors import OptionError
from facex.safety import ecc

Image = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex64]

MARK_VERSION: Final = 1
TOOL_FACEX: Final = 0xFA
P_LIMIT: Final = 1e-6
"""A mark is reported below this probability of a false alarm for one whole picture."""
TARGET_PSNR: Final = 42.5
"""Strength: peak signal-to-noise ratio over the marked area, in dB, before rounding to bytes."""

_TILE: Final = 64
_PIXELS: Final = 1_500_000
_SYNC_GAIN: Final = 1.15
_ROUNDS: Final = 3
_FEEDBACK_SIZE: Final = 768
_SCALES: Final = (0.4, 1.62)
_WINDOWS: Final = ((128, 0.024), (256, 0.012), (512, 0.006))
"""Window widths in pixels, and the relative step of the scale that each can tell apart."""
_COARSE: Final = 32
_FINE: Final = 128
_CANDIDATES: Final = 14
_NYQUIST: Final = 0.47


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


# --- the lattice ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lattice:
    """Frequencies of the mark in cycles per tile; the first ``sync`` ones synchronise.

    Attributes:
        kx: ``(252,)``, 1 to 12.
        ky: ``(252,)``, -12 to 12 without 0 (the axes belong to edges and JPEG blocks).
        signs: ``(252, 2)`` of -1 and 1, for the real and imaginary part.
        bit: ``(192, 2)``, the bit of the code word that each payload sign carries.
        sync: number of synchronising frequencies.
    """

    kx: npt.NDArray[np.int64]
    ky: npt.NDArray[np.int64]
    signs: Plane
    bit: npt.NDArray[np.int64]
    sync: int


@cache
def _lattice() -> _Lattice:
    sync, data, inner, outer, sync_outer = 60, 192, 3.0, 14.0, 9.6
    rng = np.random.Generator(np.random.PCG64(0xFACE0001))
    ky, kx = np.meshgrid(np.arange(-14, 15), np.arange(1, 15), indexing="ij")
    radius = np.hypot(kx, ky)
    allowed = (ky != 0) & (radius >= inner) & (radius <= outer)
    points = np.stack([kx[allowed], ky[allowed]], 1)
    points = points[np.argsort(np.hypot(*points.T), kind="stable")][: sync + data]
    near = np.flatnonzero(np.hypot(*points.T) <= sync_outer)
    chosen = np.sort(rng.permutation(near)[:sync])
    rest = np.setdiff1d(np.arange(len(points)), chosen)
    points = points[np.concatenate([chosen, rest])]
    # Every bit gets one sign from each quarter of the frequencies, low to high.
    quarters = [rng.permutation(ecc.CODE_BITS) for _ in range(2 * data // ecc.CODE_BITS)]
    signs = rng.choice([-1.0, 1.0], size=(len(points), 2)).astype(np.float32)
    return _Lattice(
        points[:, 0], points[:, 1], signs, np.concatenate(quarters).reshape(data, 2), sync
    )


def _phases(payload: Payload) -> Plane:
    """Return the signs of all frequencies for a payload, ``(252, 2)``."""
    lattice = _lattice()
    word = ecc.encode(payload.to_bits()).astype(np.float32) * 2 - 1
    signs = lattice.signs.copy()
    signs[lattice.sync :] *= word[lattice.bit]
    return signs


# --- embedding -----------------------------------------------------------------------------------


def _luma(rgb: Image) -> Plane:
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    luma: Plane = rgb.astype(np.float32) @ weights
    return luma


def _residual(luma: Plane) -> Plane:
    """Return what differs from the surroundings, weighted down where they are busy."""
    detail = luma - cv2.GaussianBlur(luma, (0, 0), 4)
    busy = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), 5)) + 1.0
    # Dividing once makes the noise even; the rest is the matched filter of a mark that grows
    # more slowly than the noise. Clipping takes the voice from lone edges.
    residual: Plane = np.clip(detail / busy, -2, 2) / busy**0.4
    return residual


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
    lattice = _lattice()
    spectrum = np.zeros((_TILE, _TILE // 2 + 1), dtype=np.complex64)
    spectrum[lattice.ky, lattice.kx] = amplitudes[:, 0] + 1j * amplitudes[:, 1]
    tile = scipy.fft.irfft2(spectrum, s=(_TILE, _TILE)).astype(np.float32)
    repeats = (-(-shape[0] // _TILE), -(-shape[1] // _TILE))
    plane: Plane = np.tile(tile, repeats)[: shape[0], : shape[1]]
    return plane


def _heard(luma: Plane) -> Plane:
    """Read the amplitudes (252, 2) of the lattice from an aligned area, of mean square 1/2."""
    lattice = _lattice()
    size = max(luma.shape)
    spectrum = _spectrum(_residual(luma), size)
    values = _at(spectrum, size, lattice.ky / np.float32(_TILE), lattice.kx / np.float32(_TILE))
    turn = np.pi / _TILE * (lattice.kx * luma.shape[1] + lattice.ky * luma.shape[0])
    values = values * np.exp(-1j * turn)
    values /= math.sqrt(float(np.mean(np.abs(values) ** 2))) + 1e-9
    return np.stack([values.real, values.imag], 1).astype(np.float32)


def _pattern(luma: Plane, mask: Plane, signs: Plane) -> Plane:
    """Return the change of the luma in mark units, with the picture's own voice compensated."""
    visibility = _visibility(luma) * mask
    budget = 255 / 10 ** (TARGET_PSNR / 20) * math.sqrt(float(mask.sum()))
    gains = np.ones_like(signs)
    gains[: _lattice().sync] = _SYNC_GAIN
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
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise OptionError(f"a mark needs a uint8 picture (H, W, 3), got {rgb.dtype} {rgb.shape}")
    height, width = rgb.shape[:2]
    if mask is None:
        mask = np.ones((height, width), dtype=np.float32)
    if mask.shape != (height, width):
        raise OptionError(f"the mask is {mask.shape}, the picture {(height, width)}")
    mask = np.nan_to_num(np.clip(mask, 0, 1)).astype(np.float32)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    marked = rgb.copy()
    if not len(rows):
        return marked
    unit = _unit((height, width), float(mask.sum()))
    margin = 0
    box = (
        slice(max(0, rows[0] - margin), rows[-1] + 1 + margin),
        slice(max(0, columns[0] - margin), columns[-1] + 1 + margin),
    )
    luma, part = _luma(rgb[box]), mask[box]
    full = luma.shape
    if unit > 1:
        small = (max(1, round(full[1] / unit)), max(1, round(full[0] / unit)))
        luma = cv2.resize(luma, small, interpolation=cv2.INTER_AREA)
        change = _pattern(
            luma, cv2.resize(part, small, interpolation=cv2.INTER_AREA), _phases(payload)
        )
        change = cv2.resize(change, full[::-1], interpolation=cv2.INTER_CUBIC)
    else:
        change = _pattern(luma, part, _phases(payload))
    change = np.where(part > 0, np.rint(change), 0)
    marked[box] = np.clip(rgb[box] + change[..., None], 0, 255).astype(np.uint8)
    return marked


# --- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Candidate:
    """One hypothesis: a window, its spectrum, and the scale at which a mark may be in it.

    Attributes:
        evidence: log likelihood ratio of the best shift, plus a prior for the usual scales.
        box: top, bottom, left and right of the window, in pixels.
        spectrum: as ``_spectrum`` returns it for ``size``.
        size: half the length of the transform.
        scale: pixels per mark unit.
        step: relative step of the scale that the window can tell apart.
    """

    evidence: float
    box: tuple[int, int, int, int]
    spectrum: Complexes
    size: int
    scale: float
    step: float


def _spectrum(window: Plane, size: int) -> Complexes:
    """Return the whitened spectrum ``(2 size, size + 1)`` of a window, phases from its centre."""
    height, width = window.shape
    taper = np.outer(_taper(height), _taper(width))
    spectrum = scipy.fft.rfft2(window * taper, s=(2 * size, 2 * size)).astype(np.complex64)
    power = cv2.blur(spectrum.real**2 + spectrum.imag**2, (15, 15)) + 1e-6
    rows = np.exp(1j * np.pi * np.fft.fftfreq(2 * size) * height).astype(np.complex64)
    columns = np.exp(1j * np.pi * np.fft.rfftfreq(2 * size) * width).astype(np.complex64)
    spectrum *= rows[:, None] * columns / np.sqrt(power)
    spectrum /= np.maximum(1.0, np.abs(spectrum) / 2)  # no single frequency may dominate
    return spectrum


@cache
def _taper(length: int) -> Plane:
    edge = max(1, length // 5)
    taper = np.ones(length, dtype=np.float32)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / edge)
    taper[:edge], taper[-edge:] = ramp, ramp[::-1]
    return taper


def _at(spectrum: Complexes, size: int, fy: Plane, fx: Plane) -> Complexes:
    """Read a spectrum at frequencies in cycles per pixel (any shape), bilinear; 0 beyond Nyquist."""
    y, x = fy * (2 * size), fx * (2 * size)
    y0, x0 = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    dy, dx = (y - y0).astype(np.float32), (x - x0).astype(np.float32)
    inside = (np.abs(fy) < _NYQUIST) & (fx < _NYQUIST)
    x0 = np.minimum(x0, size - 1)
    y0, y1 = y0 % (2 * size), (y0 + 1) % (2 * size)
    low = spectrum[y0, x0] * (1 - dy) + spectrum[y1, x0] * dy
    high = spectrum[y0, x0 + 1] * (1 - dy) + spectrum[y1, x0 + 1] * dy
    values: Complexes = (low * (1 - dx) + high * dx) * inside
    return values


def _sync_maps(values: Complexes, grid: int) -> Plane:
    """Compare readings ``(n, 60)`` with the sync phases at ``grid x grid`` shifts of the tile."""
    lattice = _lattice()
    template = lattice.signs[: lattice.sync] @ np.array([1, 1j], dtype=np.complex64)
    norm = np.sqrt((np.abs(values) ** 2).sum(1, keepdims=True)) + 1e-6
    array = np.zeros((len(values), grid, grid // 2 + 1), dtype=np.complex64)
    array[:, lattice.ky[: lattice.sync], lattice.kx[: lattice.sync]] = values.conj() * template / norm
    maps: Plane = scipy.fft.irfft2(array, s=(grid, grid)) * (grid * grid / 2)
    return maps


def _starts(length: int, size: int) -> list[int]:
    if length <= size:
        return [0]
    count = math.ceil((length - size) / (size / 2)) + 1
    return [round(i * (length - size) / (count - 1)) for i in range(count)]


def _windows(shape: tuple[int, int], size: int) -> Iterator[tuple[int, int, int, int]]:
    for y in _starts(shape[0], size):
        for x in _starts(shape[1], size):
            yield y, min(y + size, shape[0]), x, min(x + size, shape[1])


def _prior(scales: Floats, step: float) -> Floats:
    """Return the log prior of the scales: most pictures were never resized, or to half."""
    distance = np.abs(np.log(scales[:, None] / np.array([1.0, 0.5]))) <= 0.6 * step
    return distance @ np.array([3.0, 1.5])


def _listen(
    residual: Plane, box: tuple[int, int, int, int], size: int, scales: Floats, step: float
) -> _Candidate:
    """Return the best hypothesis of one window over some scales."""
    lattice = _lattice()
    spectrum = _spectrum(residual[box[0] : box[1], box[2] : box[3]], size)
    unit = (_TILE * scales[:, None]).astype(np.float32)
    kx, ky = lattice.kx[: lattice.sync], lattice.ky[: lattice.sync]
    peaks = _sync_maps(_at(spectrum, size, ky / unit, kx / unit), _COARSE).max((1, 2))
    evidence = peaks.astype(np.float64) ** 2 / 2 + _prior(scales, step)
    best = int(evidence.argmax())
    return _Candidate(float(evidence[best]), box, spectrum, size, float(scales[best]), step)


def _search(residual: Plane) -> list[_Candidate]:
    """Return the best hypotheses of all windows, best first."""
    found: list[_Candidate] = []
    height, width = residual.shape
    for size, step in _WINDOWS:
        if size > 128 and size / 2 >= max(height, width):
            continue
        count = math.ceil(math.log(_SCALES[1] / _SCALES[0]) / step) + 1
        scales = np.geomspace(*_SCALES, count)
        found += [
            _listen(residual, box, size, scales, step) for box in _windows((height, width), size)
        ]
        found = sorted(found, key=lambda candidate: -candidate.evidence)[:_CANDIDATES]
    return found


def _fitted(residual: Plane, candidate: _Candidate) -> _Candidate:
    """Move the edges of a candidate's window as long as the evidence grows."""
    height, width = residual.shape
    stride = candidate.size // 5
    scales = candidate.scale * (1 + candidate.step * np.array([-0.5, 0.0, 0.5]))
    best = candidate
    for edge in (0, 1, 2, 3, 0, 1, 2, 3):
        for move in (-stride, stride):
            box = list(best.box)
            box[edge] = min(max(box[edge] + move, 0), width if edge > 1 else height)
            if min(box[1] - box[0], box[3] - box[2]) < 48 or tuple(box) == best.box:
                continue
            size = max(candidate.size, box[1] - box[0], box[3] - box[2])
            size = scipy.fft.next_fast_len(size, real=True)
            moved = _listen(
                residual, (box[0], box[1], box[2], box[3]), size, scales, candidate.step
            )
            if moved.evidence > best.evidence:
                best = moved
    return best


def _refined(candidate: _Candidate) -> tuple[Complexes, float]:
    """Fit the scales of both axes and the shift; return all aligned readings and the scale."""
    lattice = _lattice()
    steps = candidate.step * np.linspace(-0.8, 0.8, 5)
    ex, ey = (grid.ravel()[:, None] for grid in np.meshgrid(steps, steps))
    unit = _TILE * candidate.scale
    fx, fy = lattice.kx / (unit * (1 + ex)), lattice.ky / (unit * (1 + ey))
    values = _at(candidate.spectrum, candidate.size, fy, fx)
    maps = _sync_maps(values[:, : lattice.sync], _FINE)
    best, y, x = np.unravel_index(int(maps.argmax()), maps.shape)
    turn = 2 * np.pi / _FINE * (lattice.kx * int(x) + lattice.ky * int(y))
    aligned = values[best] * np.exp(-1j * turn)
    return aligned, candidate.scale * float(1 + (ex[best, 0] + ey[best, 0]) / 2)


def _decode(aligned: Complexes) -> tuple[Payload, float] | None:
    """Decode aligned readings ``(252,)``; return the payload and the correlation T."""
    lattice = _lattice()
    data = aligned[lattice.sync :]
    soft = np.stack([data.real, data.imag], 1).astype(np.float64) * lattice.signs[lattice.sync :]
    bits = np.bincount(lattice.bit.ravel(), soft.ravel(), minlength=ecc.CODE_BITS)
    decoded = ecc.decode(bits)
    if decoded is None:
        return None
    word = decoded[1].astype(np.float64) * 2 - 1
    payload = Payload.from_bits(decoded[0])
    return payload, float((soft * word[lattice.bit]).sum() / (np.linalg.norm(soft) + 1e-9))


def p_value(correlation: float, attempts: int) -> float:
    """Bound the probability of a false alarm.

    Args:
        correlation: T, the normalised correlation of 384 readings with the best code word.
        attempts: how many candidates were decoded.

    Returns:
        attempts * 2^32 * exp(-T^2 / 2), at most 1 (2^32 payloads exist of a given version).
    """
    logarithm = math.log(attempts) + 32 * math.log(2) - correlation**2 / 2
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
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise OptionError(f"a mark needs a uint8 picture (H, W, 3), got {rgb.dtype} {rgb.shape}")
    attempts = 0
    best = MarkReading(False, None, 0.0, 1.0)
    luma = _luma(rgb)
    for limit in (_PIXELS, 4 * _PIXELS, 16 * _PIXELS):
        factor = min(1.0, math.sqrt(limit / luma.size))
        size = (max(1, round(luma.shape[1] * factor)), max(1, round(luma.shape[0] * factor)))
        small = luma if factor == 1 else cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
        residual = _residual(small)
        for candidate in _search(residual):
            attempts += 1
            if candidate.size <= 256:
                candidate = _fitted(residual, candidate)
            aligned, scale = _refined(candidate)
            decoded = _decode(aligned)
            if decoded is None or decoded[0].version != MARK_VERSION:
                continue
            chance = p_value(decoded[1], attempts)
            confidence = decoded[1] / math.sqrt(2 * (len(aligned) - _lattice().sync))
            if chance < P_LIMIT:
                return MarkReading(True, decoded[0], confidence, chance, scale / factor)
            if chance < best.p_value:
                best = MarkReading(False, None, confidence, chance)
        if factor == 1:
            break
    return best
