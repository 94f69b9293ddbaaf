# SPDX-License-Identifier: Apache-2.0
"""Frechet and kernel distance of edits to real faces, on the features of a named network.

Both are biased or noisy on few pictures: a report says how many there were. The Frechet distance is
that of two normal distributions (Heusel et al. 2017); the kernel distance is the unbiased squared
maximum mean discrepancy with the cubic polynomial kernel (Binkowski et al. 2018), times 1,000.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facex.evaluate.view import Measure, Values, View

Features = NDArray[Any]


def measures(name: str) -> Measure | None:
    """What a number of this file means."""
    kind, _, network = name.partition("-")
    if kind == "fid":
        return Measure(f"Frechet distance to real faces (FID-{network})", "down")
    if kind == "kid":
        return Measure(f"kernel distance to real faces x 1,000 (KID-{network})", "down")
    return None


def measure(view: View) -> Values:
    """Nothing: one picture has no distribution."""
    return {}


def compare(outputs: Features, real: Features, network: str) -> Values:
    """Distances of two sets of features ``(N, D)`` and ``(M, D)``; nothing for single pictures."""
    if len(outputs) < 2 or len(real) < 2:
        return {}
    return {
        f"fid-{network}": frechet_distance(outputs, real),
        f"kid-{network}": 1000 * kernel_distance(outputs, real),
    }


def frechet_distance(first: Features, second: Features) -> float:
    """``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` of two sets of features.

    The trace of the root is computed as the sum of the singular values of the product of the
    centred sets, which is exact also where there are fewer pictures than features.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    gap = a.mean(0) - b.mean(0)
    a = (a - a.mean(0)) / np.sqrt(len(a) - 1)
    b = (b - b.mean(0)) / np.sqrt(len(b) - 1)
    # tr (C1 C2)^(1/2) with C1 = A'A, C2 = B'B is the nuclear norm of A B'.
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return max(float(gap @ gap + (a * a).sum() + (b * b).sum() - 2 * root), 0.0)


def kernel_distance(first: Features, second: Features) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel ``(x y / D + 1)^3``."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    width = a.shape[1]

    def kernel(x: Features, y: Features) -> Features:
        return np.asarray((x @ y.T / width + 1) ** 3)

    def within(x: Features) -> float:
        values, count = kernel(x, x), len(x)
        return float((values.sum() - np.trace(values)) / (count * (count - 1)))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())
