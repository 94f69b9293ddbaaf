# SPDX-License-Identifier: Apache-2.0
"""Bars: the numbers of a report against what counts as good enough (``bars.yaml``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from facex.recipes.yaml_source import read_yaml

Number = Mapping[str, Any]
"""``value``, ``low``, ``high``, ``count`` as in the JSON of a report; bounds may be None."""


class Bar(BaseModel):
    """One bar, as ``bars.yaml`` explains its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str
    protocol: str = ""
    measures: tuple[str, ...]
    over: tuple[str, ...] = ()
    better: Literal["up", "down"]
    bar: float
    goal: float

    def verdict(self, value: float) -> str:
        """``goal``, ``bar`` or ``missed``; a number on the line has reached it."""
        sign = 1 if self.better == "up" else -1
        if sign * value >= sign * self.goal:
            return "goal"
        return "bar" if sign * value >= sign * self.bar else "missed"


class Row(NamedTuple):
    """A bar with what was measured.

    Attributes:
        bar: the bar.
        value: the number.
        low, high: its 95 % interval, None where there is none.
        cases: how many cases it is the mean of.
        verdict: ``goal``, ``bar`` or ``missed``.
        sure: whether the whole interval lies on the verdict's side of the bar.
    """

    bar: Bar
    value: float
    low: float | None
    high: float | None
    cases: int
    verdict: str
    sure: bool

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        numbers = {name: getattr(self, name) for name in ("value", "low", "high", "cases")}
        return {
            **self.bar.model_dump(include={"what", "bar", "goal", "better"}),
            **numbers,
            "verdict": self.verdict,
            "sure": self.sure,
        }


@cache
def bar_table() -> Mapping[str, tuple[Bar, ...]]:
    """Bars of the ``generator`` and of the ``analysis``."""
    text = resources.files("facex.evaluate").joinpath("bars.yaml").read_text("utf-8")
    data = read_yaml(text).data
    return {kind: tuple(Bar.model_validate(row) for row in rows) for kind, rows in data.items()}


def generator_rows(protocols: Mapping[str, Any], system: str = "ours") -> list[Row]:
    """Bars of the generator that a report's ``protocols`` have numbers for."""
    found = []
    for bar in bar_table()["generator"]:
        systems = protocols.get(bar.protocol, {}).get("systems", {})
        below = None
        if bar.over:
            rivals = [systems.get(name, {}).get(bar.measures[0]) for name in bar.over]
            known = [r["value"] for r in rivals if r is not None and r["value"] is not None]
            if not known:
                continue
            below = min(known) if bar.better == "down" else max(known)
        if (row := _row(bar, systems.get(system, {}), below)) is not None:
            found.append(row)
    return found


def analysis_rows(measures: Mapping[str, Number]) -> list[Row]:
    """Bars of the analysis that there are numbers for."""
    rows = (_row(bar, measures, None) for bar in bar_table()["analysis"])
    return [row for row in rows if row is not None]


def _row(bar: Bar, measures: Mapping[str, Number], below: float | None) -> Row | None:
    known = [measures[name] for name in bar.measures if name in measures]
    known = [number for number in known if number["value"] is not None]
    if not known or below == 0:
        return None
    worst = min if bar.better == "up" else max
    number = worst(known, key=lambda n: float(n["value"]))
    # A ratio has no interval here: its denominator varies with its numerator.
    value, low, high = number["value"], number["low"], number["high"]
    if below is not None:
        value, low, high = value / below, None, None
    verdict = bar.verdict(value)
    ends = [end for end in (low, high) if end is not None]
    sure = bool(ends) and len({bar.verdict(end) == "missed" for end in (value, *ends)}) == 1
    return Row(bar, value, low, high, int(number["count"]), verdict, sure)


def number(value: float | None) -> str:
    """Three significant digits or so; a dash for nothing."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def as_table(rows: Sequence[Row]) -> list[tuple[str, str, str, str, str]]:
    """Cells: what, measured, bar, goal, verdict."""
    cells = []
    for row in rows:
        text = number(row.value)
        if row.low is not None:
            text += f" [{number(row.low)}, {number(row.high)}]"
        verdict = row.verdict if row.sure or row.low is None else f"{row.verdict}, not sure"
        goal, bar = (number(v) for v in (row.bar.goal, row.bar.bar))
        cells.append((row.bar.what, text, bar, goal, verdict))
    return cells


HEADER = ("what", "measured", "bar", "goal", "reached")
