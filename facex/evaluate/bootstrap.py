# SPDX-License-Identifier: Apache-2.0
"""Means with confidence intervals, by resampling the cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000


class Interval(NamedTuple):
    """A number and the 95 % interval of it.

    Attributes:
        value: over all cases.
        low: 2.5 % of the resampled values lie below.
        high: 2.5 % lie above.
        cases: number of them.
    """

    value: float
    low: float
    high: float
    cases: int

    def text(self, digits: int = 3) -> str:
        """For tables: ``0.912 [0.901, 0.923]``."""
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def mean_interval(values: Sequence[float] | NDArray[Any], *, seed: int = 0) -> Interval:
    """Mean and percentile bootstrap interval of finite values; NaN for none."""
    clean = np.asarray([v for v in values if np.isfinite(v)], np.float64)
    if len(clean) == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    random = np.random.RandomState(seed)
    draws = random.randint(0, len(clean), (DRAWS, len(clean)))
    low, high = np.quantile(clean[draws].mean(1), [0.025, 0.975])
    return Interval(float(clean.mean()), float(low), float(high), len(clean))


def interval_of(
    rows: Sequence[Any], statistic: Callable[[Sequence[Any]], float], *, seed: int = 0
) -> Interval:
    """The same for any statistic of rows, such as a pooled score."""
    value = statistic(rows)
    if len(rows) < 2:
        return Interval(value, value, value, len(rows))
    random = np.random.RandomState(seed)
    found = [
        statistic([rows[i] for i in random.randint(0, len(rows), len(rows))])
        for _ in range(DRAWS // 4)
    ]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return Interval(value, float(low), float(high), len(rows))


def quick_interval_of(
    rows: NDArray[Any], statistic: Callable[[NDArray[Any]], NDArray[Any]], *, seed: int = 0
) -> Interval:
    """The same for a statistic that takes many resampled sets at once, such as a slope.

    Args:
        rows: ``(N, ...)``, one a case.
        statistic: ``(DRAWS, N, ...)`` to ``(DRAWS,)``.
        seed: of the resampling.
    """
    value = float(statistic(rows[None])[0])
    if len(rows) < 2:
        return Interval(value, value, value, len(rows))
    random = np.random.RandomState(seed)
    found = statistic(rows[random.randint(0, len(rows), (DRAWS, len(rows)))])
    found = found[np.isfinite(found)]
    low, high = np.quantile(found, [0.025, 0.975]) if len(found) else (value, value)
    return Interval(value, float(low), float(high), len(rows))


def half_interval(value: float, halves: Sequence[float], cases: int) -> Interval:
    """An interval from the statistic of random halves of the cases (delete-half jackknife).

    For statistics that resampling with replacement shifts, such as distances of distributions:
    only the spread of the halves is used, which is that of the whole, and not their mean.

    Args:
        value: of all cases.
        halves: of halves drawn without replacement.
        cases: number of them.
    """
    spread = float(np.std(np.asarray(halves, np.float64), ddof=1)) if len(halves) > 1 else np.nan
    return Interval(value, value - _NORMAL * spread, value + _NORMAL * spread, cases)


_NORMAL = 1.959964
"""Standard deviations to either side that hold 95 % of a normal distribution."""
