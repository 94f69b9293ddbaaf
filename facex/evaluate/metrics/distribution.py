# SPDX-License-Identifier: Apache-2.0
"""Frechet and kernel distance of edits to real faces, on the features of a named network.

Both are biased or noisy on few pictures: a report says how many there were. The Frechet distance is
that of two normal distributions (Heusel et al. 2017); the kernel distance is the unbiased squared
maximum mean discrepancy with the cubic polynomial kernel (Binkowski et al. 2018), times 1,000.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facex.evaluate.bootstrap import Interval, half_interval
from facex.evaluate.view import Measure, Values, View

Features = NDArray[Any]
_HALVES: Final = 40


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


def compare(outputs: Features, real: Features, network: str) -> dict[str, Interval]:
    """Distances of two sets of features ``(N, D)`` and ``(M, D)``; nothing for single pictures.

    The intervals are those of the outputs: the real faces are the same for every system.
    """
    if len(outputs) < 2 or len(real) < 2:
        return {}
    halves = _halves(len(outputs))
    frechet, kernel = _Frechet(real), _Kernel(outputs, real)
    return {
        f"fid-{network}": half_interval(
            frechet(outputs), [frechet(outputs[half]) for half in halves], len(outputs)
        ),
        f"kid-{network}": half_interval(
            1000 * kernel(), [1000 * kernel(half) for half in halves], len(outputs)
        ),
    }


def _halves(count: int) -> list[NDArray[np.int64]]:
    """Random halves of at least two of ``count`` pictures; none of fewer than four."""
    random = np.random.RandomState(0)
    return [random.permutation(count)[: count // 2] for _ in range(_HALVES if count > 3 else 0)]


class _Frechet:
    """Frechet distance to one set of features, of which everything is computed once.

    ``tr (C1 C2)^(1/2)`` with ``C1 = A'A`` and ``C2 = B'B`` is the sum of the singular values of
    ``A B'``, which is exact also where there are fewer pictures than features, and does not change
    when ``B`` is replaced by a root of ``C2``.
    """

    def __init__(self, real: Features) -> None:
        b = np.asarray(real, np.float64)
        self.mean = b.mean(0)
        b = (b - self.mean) / np.sqrt(len(b) - 1)
        self.trace = float((b * b).sum())
        if len(b) > b.shape[1]:
            b = np.asarray(np.linalg.qr(b, mode="r"))
        self.root = b

    def __call__(self, outputs: Features) -> float:
        a = np.asarray(outputs, np.float64)
        gap = a.mean(0) - self.mean
        a = (a - a.mean(0)) / np.sqrt(len(a) - 1)
        root = np.linalg.svd(a @ self.root.T, compute_uv=False).sum()
        return max(float(gap @ gap + (a * a).sum() + self.trace - 2 * root), 0.0)


class _Kernel:
    """Kernel distance of a set and of its parts, with the kernel ``(x y / D + 1)^3`` kept."""

    def __init__(self, outputs: Features, real: Features) -> None:
        a, b = np.asarray(outputs, np.float64), np.asarray(real, np.float64)
        width = a.shape[1]

        def kernel(x: Features, y: Features) -> Features:
            return np.asarray((x @ y.T / width + 1) ** 3)

        self.within = kernel(a, a)
        self.across = kernel(a, b).mean(1)
        values, count = kernel(b, b), len(b)
        self.real = float((values.sum() - np.trace(values)) / (count * (count - 1)))

    def __call__(self, part: NDArray[np.int64] | None = None) -> float:
        index = np.arange(len(self.within)) if part is None else part
        values, count = self.within[np.ix_(index, index)], len(index)
        own = float((values.sum() - np.trace(values)) / (count * (count - 1)))
        return own + self.real - 2 * float(self.across[index].mean())


def frechet_distance(first: Features, second: Features) -> float:
    """``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` of two sets of features."""
    return _Frechet(second)(first)


def kernel_distance(first: Features, second: Features) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel ``(x y / D + 1)^3``."""
    return _Kernel(first, second)()
