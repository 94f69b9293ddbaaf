# SPDX-License-Identifier: Apache-2.0
"""Pictures against a true answer: PSNR, SSIM and LPIPS, of the whole and inside the hole.

Inside a hole everything else is replaced by the truth, so that only the hole counts; LPIPS is then
divided by the hole's share of the picture, so that holes of different size compare.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.evaluate.faces import Pixels
from facex.evaluate.judges import as_tensor
from facex.evaluate.perceptual import Network
from facex.evaluate.view import Measure, Values, View

MEASURES: Final = {
    "psnr": Measure("PSNR, dB", "up"),
    "ssim": Measure("SSIM", "up"),
    "lpips": Measure("LPIPS", "down"),
    "hole_psnr": Measure("PSNR in the hole, dB", "up"),
    "hole_lpips": Measure("LPIPS in the hole, per share", "down"),
}
PSNR_LIMIT: Final = 100.0
"""What equal pictures get in place of infinity, so that means exist."""


def measures(name: str) -> Measure | None:
    """What a number of this file means."""
    return MEASURES.get(name)


def measure(view: View) -> Values:
    """Distances to the truth; nothing where there is none."""
    if view.truth is None:
        return {}
    values = {"psnr": psnr(view.output, view.truth), "ssim": ssim(view.output, view.truth)}
    if view.lpips is not None:
        values["lpips"] = lpips(view.lpips, view.output, view.truth)
    if view.hole is not None and view.hole.any():
        inside = view.hole > 0.5
        values["hole_psnr"] = psnr(view.output[inside], view.truth[inside])
        if view.lpips is not None:
            only = np.where(inside[..., None], view.output, view.truth)
            share = float(inside.mean())
            values["hole_lpips"] = lpips(view.lpips, only, view.truth) / share
    return values


def psnr(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Peak signal-to-noise ratio of uint8 arrays in dB, at most :data:`PSNR_LIMIT`."""
    error = float(np.square(first.astype(np.float64) - second).mean())
    return PSNR_LIMIT if error == 0 else min(10 * float(np.log10(255**2 / error)), PSNR_LIMIT)


def ssim(first: Pixels, second: Pixels) -> float:
    """Structural similarity (Wang et al. 2004): Gaussian window of 1.5 px over 11, mean of RGB."""
    a, b = first.astype(np.float64), second.astype(np.float64)

    def mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(x, (11, 11), 1.5)[5:-5, 5:-5])

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    both = mean(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def lpips(net: Network, first: Pixels, second: Pixels) -> float:
    """Perceptual distance of two pictures of one size."""
    return float(net(as_tensor([first]), as_tensor([second]))[0])
