# SPDX-License-Identifier: Apache-2.0
"""The search for a mark: which windows, scales and shifts look as if one were there.

Nothing is resampled. Each window of the picture is transformed once; for each of some hundred
scales its spectrum is read off at the synchronising frequencies, and one small inverse transform
compares them with the fixed phases at all shifts. The windows of the best hypotheses are then
fitted to the marked area, and scale and shift refined.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.fft

from facex.safety.lattice import TILE, Complexes, Floats, Plane, lattice, read_at, spectrum_of

Box = tuple[int, int, int, int]

_SCALES: Final = (0.4, 1.62)
_WINDOWS: Final = ((128, 0.024), (256, 0.012), (512, 0.006))
"""Window widths in pixels, and the relative step of the scale that each can tell apart."""
_COARSE: Final = 32
_FINE: Final = 128
CANDIDATES: Final = 14
"""How many hypotheses are followed up."""
_FITTED_SIZE: Final = 256
_SMALLEST: Final = 48


@dataclass(frozen=True)
class Candidate:
    """One hypothesis: a window, its spectrum, and the scale at which a mark may be in it.

    Attributes:
        evidence: log likelihood ratio of the best shift, plus a prior for the usual scales.
        box: top, bottom, left and right of the window, in pixels.
        spectrum: as ``spectrum_of`` returns it for ``size``.
        size: half the length of the transform.
        scale: pixels per mark unit.
        step: relative step of the scale that the window can tell apart.
    """

    evidence: float
    box: Box
    spectrum: Complexes
    size: int
    scale: float
    step: float


def _sync_maps(values: Complexes, grid: int) -> Plane:
    """Compare readings ``(n, 60)`` with the sync phases at ``grid x grid`` shifts of the tile."""
    points = lattice()
    template = points.signs[: points.sync] @ np.array([1, 1j], dtype=np.complex64)
    norm = np.sqrt((np.abs(values) ** 2).sum(1, keepdims=True)) + 1e-6
    array = np.zeros((len(values), grid, grid // 2 + 1), dtype=np.complex64)
    array[:, points.ky[: points.sync], points.kx[: points.sync]] = values.conj() * template / norm
    maps: Plane = scipy.fft.irfft2(array, s=(grid, grid)) * (grid * grid / 2)
    return maps


def _starts(length: int, size: int) -> list[int]:
    if length <= size:
        return [0]
    count = math.ceil((length - size) / (size / 2)) + 1
    return [round(i * (length - size) / (count - 1)) for i in range(count)]


def _windows(shape: tuple[int, int], size: int) -> Iterator[Box]:
    for y in _starts(shape[0], size):
        for x in _starts(shape[1], size):
            yield y, min(y + size, shape[0]), x, min(x + size, shape[1])


def _prior(scales: Floats, step: float) -> Floats:
    """Return the log prior of the scales: most pictures were never resized, or to half."""
    usual = np.abs(np.log(scales[:, None] / np.array([1.0, 0.5]))) <= 0.6 * step
    prior: Floats = usual @ np.array([3.0, 1.5])
    return prior


def _listen(residual: Plane, box: Box, size: int, scales: Floats, step: float) -> Candidate:
    """Return the best hypothesis of one window over some scales."""
    points = lattice()
    spectrum = spectrum_of(residual[box[0] : box[1], box[2] : box[3]], size)
    unit = TILE * scales[:, None]
    kx, ky = points.kx[: points.sync], points.ky[: points.sync]
    peaks = _sync_maps(read_at(spectrum, size, ky / unit, kx / unit), _COARSE).max((1, 2))
    evidence = peaks.astype(np.float64) ** 2 / 2 + _prior(scales, step)
    best = int(evidence.argmax())
    return Candidate(float(evidence[best]), box, spectrum, size, float(scales[best]), step)


def search(residual: Plane) -> list[Candidate]:
    """Return the best hypotheses of all windows.

    Args:
        residual: ``(H, W)`` from ``residual_of``.

    Returns:
        At most ``CANDIDATES``, best first.
    """
    found: list[Candidate] = []
    height, width = residual.shape
    for size, step in _WINDOWS:
        if size > 128 and size / 2 >= max(height, width):
            continue
        count = math.ceil(math.log(_SCALES[1] / _SCALES[0]) / step) + 1
        scales = np.geomspace(*_SCALES, count)
        found += [
            _listen(residual, box, size, scales, step) for box in _windows((height, width), size)
        ]
        found = sorted(found, key=lambda candidate: -candidate.evidence)[:CANDIDATES]
    return found


def _fitted(residual: Plane, candidate: Candidate) -> Candidate:
    """Move the edges of a candidate's window as long as the evidence grows."""
    stride = candidate.size // 5
    scales = candidate.scale * (1 + candidate.step * np.array([-0.5, 0.0, 0.5]))
    best = candidate
    for edge in (0, 1, 2, 3, 0, 1, 2, 3):
        for move in (-stride, stride):
            box = _moved(best.box, edge, move, residual.shape)
            height, width = box[1] - box[0], box[3] - box[2]
            if min(height, width) < _SMALLEST or box == best.box:
                continue
            size = scipy.fft.next_fast_len(max(candidate.size, height, width), real=True)
            moved = _listen(residual, box, size, scales, candidate.step)
            if moved.evidence > best.evidence:
                best = moved
    return best


def _moved(box: Box, edge: int, move: int, shape: tuple[int, ...]) -> Box:
    edges = list(box)
    edges[edge] = min(max(edges[edge] + move, 0), shape[edge // 2])
    top, bottom, left, right = edges
    return top, bottom, left, right


def refined(residual: Plane, candidate: Candidate) -> tuple[Complexes, float]:
    """Fit the window to the marked area, the scales of both axes and the shift.

    Args:
        residual: the one that was searched.
        candidate: from ``search``.

    Returns:
        The readings of all frequencies, ``(252,)``, with phases from the corner of the tile; and
        the scale in pixels per mark unit.
    """
    if candidate.size <= _FITTED_SIZE:
        candidate = _fitted(residual, candidate)
    points = lattice()
    steps = candidate.step * np.linspace(-0.8, 0.8, 5)
    ex, ey = (grid.ravel()[:, None] for grid in np.meshgrid(steps, steps))
    unit = TILE * candidate.scale
    fx, fy = points.kx / (unit * (1 + ex)), points.ky / (unit * (1 + ey))
    values = read_at(candidate.spectrum, candidate.size, fy, fx)
    maps = _sync_maps(values[:, : points.sync], _FINE)
    best, y, x = np.unravel_index(int(maps.argmax()), maps.shape)
    turn = 2 * np.pi / _FINE * (points.kx * int(x) + points.ky * int(y))
    aligned = values[best] * np.exp(-1j * turn)
    return aligned, candidate.scale * float(1 + (ex[best, 0] + ey[best, 0]) / 2)
