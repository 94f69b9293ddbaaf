# SPDX-License-Identifier: Apache-2.0
"""Two reports side by side, with the differences that matter.

Both measured the same cases, so the difference of each case is resampled: a difference matters when
the 95 % bootstrap interval of its mean (of the difference of the slopes, for sliders) does not hold
0. Where a report has no numbers by case, which is so for distances of distributions and in older
reports, or few cases, it matters when the two intervals do not overlap, which is stricter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from facex.errors import OptionError
from facex.evaluate.bars import number
from facex.evaluate.bootstrap import DRAWS, mean_interval
from facex.evaluate.metrics.motion import correlations, slider_tables, slopes
from facex.evaluate.report import label_of, rows_of

_OVERALL: Final = {"slope": slopes, "correlation": correlations}
_LEAST: Final = 6
"""Cases from which on resampled differences say something."""


class Difference(NamedTuple):
    """One number in both reports.

    Attributes:
        protocol: name of the protocol.
        measure: name of the measure.
        label: how tables call it.
        first, second: the two values.
        verdict: ``better``, ``worse`` or ``differs`` (the second against the first) where it
            matters, else empty.
        paired: whether the same cases were compared one by one.
    """

    protocol: str
    measure: str
    label: str
    first: float
    second: float
    verdict: str
    paired: bool = False


def differences(
    first: Mapping[str, Any], second: Mapping[str, Any], system: str = "ours"
) -> list[Difference]:
    """All numbers that both reports have.

    Raises:
        OptionError: the reports measured different lists, so nothing can be compared.
    """
    found = []
    shared = [name for name in first["protocols"] if name in second["protocols"]]
    alike = [
        name
        for name in shared
        if _list_of(first["protocols"][name]) == _list_of(second["protocols"][name])
    ]
    if not alike:
        raise OptionError(
            "the two reports have no protocol with the same list of cases; "
            "measure both on the same faces"
        )
    for name in alike:
        one, two = first["protocols"][name], second["protocols"][name]
        ours, theirs = one["systems"].get(system, {}), two["systems"].get(system, {})
        for measure in rows_of(one):
            a, b = ours.get(measure), theirs.get(measure)
            if a is None or b is None or a["value"] is None or b["value"] is None:
                continue
            better = one["labels"].get(measure, {}).get("better", "none")
            # Numbers by case are kept of the system under test alone.
            tested = system == next(iter(one["systems"])) == next(iter(two["systems"]))
            ends = paired_interval(one, two, measure) if tested else None
            if ends is None:
                matters, up = _apart(a, b), b["value"] > a["value"]
            else:
                matters, up = ends[0] > 0 or ends[1] < 0, ends[0] > 0
            verdict = _verdict(better, up=up) if matters else ""
            label = label_of(one, measure)
            found.append(
                Difference(name, measure, label, a["value"], b["value"], verdict, ends is not None)
            )
    return found


def table(found: list[Difference], *, everything: bool = False) -> Iterator[str]:
    """Markdown lines; without ``everything`` only the differences that matter."""
    yield "| protocol | measure | first | second | second is |"
    yield "| --- | --- | --- | --- | --- |"
    for item in found:
        if everything or item.verdict:
            yield (
                f"| {item.protocol} | {item.label} | {number(item.first)} | "
                f"{number(item.second)} | {item.verdict or 'as good, within its interval'} |"
            )


def paired_interval(
    first: Mapping[str, Any], second: Mapping[str, Any], measure: str
) -> tuple[float, float] | None:
    """95 % interval of the second less the first on the cases that both have.

    Args:
        first: a protocol of a report.
        second: the same of the other report.
        measure: name of the number.

    Returns:
        None where the reports do not have it by case, or for too few cases.
    """
    kind, _, axis = measure.partition(":")
    if kind in _OVERALL:
        return _paired_slopes(first, second, kind, axis)
    one, two = (report.get("values", {}).get(measure, {}) for report in (first, second))
    gaps = [
        two[key] - value
        for key, value in one.items()
        if value is not None and two.get(key) is not None
    ]
    if len(gaps) < _LEAST:
        return None
    interval = mean_interval(gaps)
    return interval.low, interval.high


def _paired_slopes(
    first: Mapping[str, Any], second: Mapping[str, Any], kind: str, axis: str
) -> tuple[float, float] | None:
    one, two = (_cases_of(report) for report in (first, second))
    # The same cases in the same order; those that lack the slider drop out on both sides.
    keys = [key for key in one if key in two]
    tables = [slider_tables([side[key] for key in keys]).get(axis) for side in (one, two)]
    if tables[0] is None or tables[1] is None or len(tables[0]) < _LEAST:
        return None
    if len(tables[0]) != len(tables[1]):
        return None
    count = len(tables[0])
    index = np.random.RandomState(0).randint(0, count, (DRAWS, count))
    statistic = _OVERALL[kind]
    gaps = statistic(tables[1][index]) - statistic(tables[0][index])
    gaps = gaps[np.isfinite(gaps)]
    if not len(gaps):
        return None
    low, high = np.quantile(gaps, [0.025, 0.975])
    return float(low), float(high)


def _cases_of(protocol: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Asked and moved changes of every case."""
    cases: dict[str, dict[str, float]] = {}
    for name, values in protocol.get("values", {}).items():
        if name.startswith(("asked:", "moved:")):
            for key, value in values.items():
                if value is not None:
                    cases.setdefault(key, {})[name] = value
    return cases


def _list_of(protocol: Mapping[str, Any]) -> tuple[Any, ...]:
    return protocol["version"], protocol["list_hash"]


def _apart(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two intervals exist and do not overlap."""
    if any(bound is None for bound in (a["low"], a["high"], b["low"], b["high"])):
        return False
    return bool(a["low"] > b["high"] or b["low"] > a["high"])


def _verdict(better: str, *, up: bool) -> str:
    if better == "none":
        return "differs"
    return "better" if up == (better == "up") else "worse"
