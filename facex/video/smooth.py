# SPDX-License-Identifier: Apache-2.0
"""Smoothing in time without lag: a One-Euro filter run forwards and backwards.

Casiez, Roussel, Vogel: "1€ Filter", CHI 2012. The cut-off frequency grows with the speed, so that
a still face does not tremble and a blink is not washed out. Run in both directions and averaged,
the filter moves nothing in time, which it may do because the whole clip is known.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIN_CUTOFF: Final = 1.5
"""Hertz of a still face."""
BETA: Final = 20.0
"""Hertz per side of the face and second."""
_SPEED_CUTOFF: Final = 2.0


def one_euro(
    values: Floats, times: Floats, *, min_cutoff: float = MIN_CUTOFF, beta: float = BETA
) -> Floats:
    """The causal filter.

    Args:
        values: ``(T, ...)`` in any unit.
        times: ``(T,)`` seconds, growing.
        min_cutoff: hertz at no speed.
        beta: hertz per unit and second.

    Returns:
        The same shape.
    """
    result = values.copy()
    speed = np.zeros_like(values[0])
    for t in range(1, len(values)):
        step = max(float(times[t] - times[t - 1]), 1e-3)
        slow = _share(_SPEED_CUTOFF, step)
        speed = speed + slow * ((values[t] - values[t - 1]) / step - speed)
        cutoff = min_cutoff + beta * np.abs(speed)
        result[t] = result[t - 1] + _share(cutoff, step) * (values[t] - result[t - 1])
    return result


def smooth(values: Floats, times: Floats, unit: float) -> Floats:
    """Both directions averaged.

    Args:
        values: ``(T, ...)``.
        times: ``(T,)`` seconds, growing.
        unit: what counts as 1, for example the side of the face in pixels.
    """
    scaled = values / unit
    forwards = one_euro(scaled, times)
    backwards = one_euro(scaled[::-1], times[-1] - times[::-1])[::-1]
    return np.asarray((forwards + backwards) * (unit / 2))


def _share(cutoff: Floats | float, step: float) -> Floats | float:
    """Weight of the new value in a first-order low pass."""
    ratio = 2 * math.pi * cutoff * step
    return ratio / (ratio + 1)
