# SPDX-License-Identifier: Apache-2.0
"""The lattice of frequencies on which the invisible mark lives, and how a picture is heard there.

The mark is a tile of 64 x 64 *mark units* that repeats. Its spectrum has 252 frequencies with
periods between 5 and 21 units: 60 carry fixed phases (synchronisation), 192 carry the payload: 384
signs, four for each bit of the code word. The signs come from a fixed generator; they are the same
in every picture, so that anybody can read a mark.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import scipy.fft

from facex.imaging.luma import LUMA
from facex.safety import ecc

Image = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex64]

TILE: Final = 64
"""Period of the mark in mark units."""
_NYQUIST: Final = 0.47


@dataclass(frozen=True)
class Lattice:
    """Frequencies of the mark in cycles per tile; the first ``sync`` ones synchronise.

    Attributes:
        kx: ``(252,)``, 1 to 13.
        ky: ``(252,)``, -13 to 13 without 0 (the axes belong to edges and JPEG blocks).
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
def lattice() -> Lattice:
    """Return the lattice of version 1 of the mark. It must never change."""
    sync, data, inner, sync_band = 60, 192, 3.0, (5.0, 10.5)
    ky, kx = (grid.ravel() for grid in np.mgrid[-14:15, 1:15])
    radius = np.hypot(kx, ky)
    order = np.lexsort((kx, ky, radius))
    order = order[(ky[order] != 0) & (radius[order] >= inner)][: sync + data]
    kx, ky, radius = kx[order], ky[order], radius[order]
    near = np.flatnonzero((radius >= sync_band[0]) & (radius <= sync_band[1]))
    chosen = np.sort(near[_shuffled(len(near), "sync")[:sync]])
    order = np.concatenate([chosen, np.setdiff1d(np.arange(sync + data), chosen)])
    # Every bit gets one sign from each quarter of the frequencies, low to high.
    quarters = [_shuffled(ecc.CODE_BITS, f"bits {i}") for i in range(2 * data // ecc.CODE_BITS)]
    signs = np.array([_hashed("sign", i) & 1 for i in range(2 * (sync + data))]) * 2.0 - 1.0
    return Lattice(
        kx=kx[order],
        ky=ky[order],
        signs=signs.reshape(-1, 2).astype(np.float32),
        bit=np.concatenate(quarters).reshape(data, 2),
        sync=sync,
    )


def _hashed(purpose: str, number: int) -> int:
    # Not numpy's generators: their streams may change between releases, old marks must not.
    text = f"facex mark 1, {purpose}, {number}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _shuffled(length: int, purpose: str) -> npt.NDArray[np.int64]:
    ranked = sorted(range(length), key=lambda number: _hashed(purpose, number))
    return np.array(ranked, dtype=np.int64)


def luma_of(rgb: Image) -> Plane:
    """Return the brightness (BT.601, as in JPEG) of ``(H, W, 3)`` uint8, 0 to 255."""
    luma: Plane = rgb.astype(np.float32) @ np.array(LUMA, dtype=np.float32)
    return luma


def residual_of(luma: Plane) -> Plane:
    """Return what differs from the surroundings, weighted down where they are busy.

    Args:
        luma: ``(H, W)``, 0 to 255.

    Returns:
        ``(H, W)``, within -2 to 2.
    """
    detail = luma - cv2.GaussianBlur(luma, (0, 0), 4)
    busy = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), 5)) + 1.0
    # Dividing once makes the noise even; the rest is the matched filter of a mark that grows
    # more slowly than the noise. Clipping takes the voice from lone edges.
    residual: Plane = np.clip(detail / busy, -2, 2) / busy**0.4
    return residual


def spectrum_of(window: Plane, size: int) -> Complexes:
    """Return the whitened spectrum of a window.

    Args:
        window: ``(h, w)`` part of a residual, h and w at most ``2 * size``.
        size: half the length of the transform; the padding makes reading between bins exact enough.

    Returns:
        ``(2 size, size + 1)``, magnitudes about 1 and at most 2, phases from the window's centre.
    """
    height, width = window.shape
    taper = np.outer(_taper(height), _taper(width))
    spectrum = scipy.fft.rfft2((window * taper).astype(np.float32), s=(2 * size,) * 2)
    power = cv2.blur(spectrum.real**2 + spectrum.imag**2, (15, 15)) + 1e-6
    rows = np.exp(1j * np.pi * np.fft.fftfreq(2 * size) * height).astype(np.complex64)
    columns = np.exp(1j * np.pi * np.fft.rfftfreq(2 * size) * width).astype(np.complex64)
    spectrum *= rows[:, None] * columns / np.sqrt(power)
    spectrum /= np.maximum(1, np.abs(spectrum) / 2)  # no single frequency may dominate
    return spectrum


@cache
def _taper(length: int) -> Plane:
    edge = max(1, length // 5)
    taper = np.ones(length, dtype=np.float32)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / edge)
    taper[:edge], taper[-edge:] = ramp, ramp[::-1]
    return taper


def read_at(spectrum: Complexes, size: int, fy: Floats, fx: Floats) -> Complexes:
    """Read a spectrum between its bins, bilinearly.

    Args:
        spectrum: from ``spectrum_of``.
        size: the same as there.
        fy: frequencies in cycles per pixel, any shape.
        fx: the same shape, 0 or more.

    Returns:
        Values of that shape; 0 beyond what a picture of this size can hold.
    """
    y, x = fy * (2 * size), fx * (2 * size)
    y0, x0 = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    dy, dx = (y - y0).astype(np.float32), (x - x0).astype(np.float32)
    inside = (np.abs(fy) < _NYQUIST) & (fx < _NYQUIST)
    x0 = np.minimum(x0, size - 1)
    y0, y1 = y0 % (2 * size), (y0 + 1) % (2 * size)
    low = spectrum[y0, x0] * (1 - dy) + spectrum[y1, x0] * dy
    high = spectrum[y0, x0 + 1] * (1 - dy) + spectrum[y1, x0 + 1] * dy
    values = (low * (1 - dx) + high * dx) * inside
    return values.astype(np.complex64, copy=False)
