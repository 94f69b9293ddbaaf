# SPDX-License-Identifier: Apache-2.0
"""Classical filters whose pictures personalised bases learn to draw: pencil, comic, oil.

They see single pixels, no faces; what they give is a style to learn and the yardstick that the
stylization protocol measures against. All widths are shares of the side, so that a style looks the
same at every size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Filter = Callable[[Floats], Floats]


def pencil(image: Floats) -> Floats:
    """Graphite on warm paper: lines where brightness falls off, shading in soft steps.

    Args:
        image: (H, W, 3) in [0, 1].

    Returns:
        (H, W, 3) in [0, 1], nearly grey.
    """
    grey = _luma(_smooth(image, 2))
    side = _side(image)
    shade = np.clip(grey / np.maximum(_blur(grey, side * 0.05), 0.04), 0, 1.15) / 1.15
    tone = 0.62 + 0.38 * np.clip(1.25 * _blur(grey, side * 0.006), 0, 1) ** 0.8
    drawn = np.clip(_lines(grey, side, 0.005, 18.0) * (0.35 + 0.65 * shade) * tone, 0, 1)
    paper, graphite = _colour(0.97, 0.955, 0.925), _colour(0.17, 0.17, 0.19)
    return _mix(graphite, paper, drawn)


def comic(image: Floats) -> Floats:
    """Flat, strong colours in a few steps of brightness, with ink lines.

    Args:
        image: (H, W, 3) in [0, 1].

    Returns:
        (H, W, 3) in [0, 1].
    """
    flat = _smooth(image, 5)
    lab = cv2.cvtColor(flat, cv2.COLOR_RGB2LAB)
    step = np.float32(17.0)
    nearest = np.round(lab[..., 0] / step) * step
    # Steps with soft edges (Winnemoeller 2006): hard ones jump from frame to frame.
    lab[..., 0] = nearest + step / 2 * np.tanh((lab[..., 0] - nearest) * np.float32(0.55))
    lab[..., 1:] *= np.float32(1.6)
    colour = np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1)
    ink = _lines(_luma(_smooth(image, 2)), _side(image), 0.006, 24.0)
    return _mix(_colour(0.05, 0.04, 0.07), colour, ink)


def oil(image: Floats) -> Floats:
    """Thick strokes in warm, strong colours, lit from the upper left.

    Each pixel takes the calmest of eight neighbourhoods around it (Kuwahara; the soft choice is
    that of Papari et al. 2007, which leaves no staircase), and what is brighter stands out.

    Args:
        image: (H, W, 3) in [0, 1].

    Returns:
        (H, W, 3) in [0, 1].
    """
    side = _side(image)
    best, weights = np.zeros_like(image), np.zeros((*image.shape[:2], 1), np.float32)
    squared = image * image
    for kernel in _sectors(max(2, round(side * 0.023))):
        mean = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
        spread = cv2.filter2D(squared, -1, kernel, borderType=cv2.BORDER_REFLECT_101) - mean * mean
        weight = 1 / (1e-4 + np.maximum(spread, 0).sum(2, keepdims=True)) ** 4
        best += mean * weight
        weights += weight
    painted = (best / weights).astype(np.float32)
    lab = cv2.cvtColor(painted, cv2.COLOR_RGB2LAB)
    height = _blur(lab[..., 0], side * 0.005)
    slope = cv2.Sobel(height, -1, 1, 0) + cv2.Sobel(height, -1, 0, 1)
    relief = 9 * np.tanh(slope * (side / 256) / 14)
    lab[..., 0] = 100 * np.clip(0.52 + 1.2 * (lab[..., 0] / 100 - 0.5), 0.04, 0.97) + relief
    lab[..., 1:] = lab[..., 1:] * np.float32(1.55) + _colour(2.0, 7.0)
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1).astype(np.float32)


FILTERS: Final[dict[str, Filter]] = {"pencil": pencil, "comic": comic, "oil": oil}


def _side(image: Floats) -> float:
    return float(max(image.shape[:2]))


def _luma(image: Floats) -> Floats:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _blur(image: Floats, sigma: float) -> Floats:
    return cv2.GaussianBlur(image, (0, 0), sigma)


def _smooth(image: Floats, rounds: int) -> Floats:
    """Flatten skin and keep edges; more rounds, flatter."""
    side = _side(image)
    for _ in range(rounds):
        image = cv2.bilateralFilter(image, 0, 0.09, side * 0.009)
    return image


def _lines(grey: Floats, side: float, width: float, sharpness: float) -> Floats:
    """1 on blank ground, towards 0 on lines (XDoG, Winnemoeller 2012)."""
    fine = _blur(grey, side * width)
    wide = _blur(grey, side * width * 1.6)
    response = fine - np.float32(0.985) * wide
    dark = np.where(response < 0, 1 + np.tanh(sharpness * 4 * response), 1)
    return np.clip(dark, 0, 1).astype(np.float32)


def _mix(dark: Floats, light: Floats, amount: Floats) -> Floats:
    share = amount[..., None]
    return np.asarray(dark * (1 - share) + light * share, np.float32)


def _colour(*values: float) -> Floats:
    return np.array(values, np.float32)


def _sectors(radius: int) -> list[Floats]:
    """Eight overlapping wedges of a soft disc, each of sum 1."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
    disc = np.exp(-(x * x + y * y) / (2 * (radius * 0.6) ** 2)) * (x * x + y * y <= radius * radius)
    kernels = []
    for index in range(8):
        angle = index * np.pi / 4
        turned = np.arctan2(y, x) - angle
        turned = np.abs((turned + np.pi) % (2 * np.pi) - np.pi)
        wedge = disc * np.clip(1.35 - turned / (np.pi / 4), 0, 1)
        wedge[radius, radius] = disc[radius, radius]
        kernels.append((wedge / wedge.sum()).astype(np.float32))
    return kernels
