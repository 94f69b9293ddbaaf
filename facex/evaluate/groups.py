# SPDX-License-Identifier: Apache-2.0
"""Groups of people: are results equally good for everybody?

Sex and age come from the index (a teacher's guess), skin tone from the measured ITA angle of the
target's own skin, ``atan((L - 50) / b)``, in the usual six classes drawn together to three, and
glasses from the parser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from facex.evaluate.bootstrap import Interval, mean_interval
from facex.evaluate.judges import Reading

_AGES: Final = ((0, 18, "under 18"), (18, 35, "18 to 34"), (35, 55, "35 to 54"), (55, 200, "55 up"))
_TONES: Final = ((28.0, "light"), (-30.0, "medium"), (-91.0, "dark"))
_GLASSES: Final = 0.006
"""Share of the picture from which a face counts as wearing glasses."""


class Gap(NamedTuple):
    """The worst and the best group of one division.

    Attributes:
        division: ``sex``, ``age``, ``skin`` or ``glasses`` of the target, or the source's.
        groups: interval by group.
        ratio: largest over smallest mean; 1 is equal.
    """

    division: str
    groups: dict[str, Interval]
    ratio: float


def groups_of(row: Mapping[str, str], reading: Reading) -> dict[str, str]:
    """The group of a face in every division that is known."""
    found: dict[str, str] = {}
    if (male := _number(row.get("male"))) is not None:
        found["sex"] = "male" if male >= 0.5 else "female"
    if (age := _number(row.get("age"))) is not None:
        found["age"] = next((name for low, high, name in _AGES if low <= age < high), "55 up")
    if "skin" in reading:
        tone = ita(reading["skin"])
        found["skin"] = next((name for limit, name in _TONES if tone >= limit), "dark")
    if "glasses" in reading:
        found["glasses"] = "glasses" if float(reading["glasses"]) > _GLASSES else "none"
    return found


def ita(lab: Sequence[float] | np.ndarray) -> float:
    """Individual typology angle of a skin colour in L*a*b*, degrees; light skin above 28."""
    return float(np.rad2deg(np.arctan2(float(lab[0]) - 50, max(float(lab[2]), 1e-6))))


def gaps(values: Sequence[float], groups: Sequence[Mapping[str, str]]) -> list[Gap]:
    """Intervals by group and the ratio of the extremes, for every division with two groups."""
    found = []
    for division in dict.fromkeys(name for group in groups for name in group):
        parts: dict[str, list[float]] = {}
        for value, group in zip(values, groups, strict=True):
            if division in group and np.isfinite(value):
                parts.setdefault(group[division], []).append(value)
        if len(parts) < 2:
            continue
        intervals = {name: mean_interval(part) for name, part in sorted(parts.items())}
        means = [interval.value for interval in intervals.values()]
        low, high = min(means), max(means)
        # Nobody having any of it is no gap.
        ratio = 1.0 if high == low else high / low if low > 0 else float("inf")
        found.append(Gap(division, intervals, ratio))
    return found


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
