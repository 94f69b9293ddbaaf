# SPDX-License-Identifier: Apache-2.0
"""Results of a protocol, summed up: intervals, groups, and what every number means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facex.evaluate.bootstrap import Interval, mean_interval
from facex.evaluate.embedders import OWN
from facex.evaluate.groups import Gap, gaps
from facex.evaluate.metrics import metric
from facex.evaluate.protocols import Case, Protocol
from facex.evaluate.view import Measure, Values


@dataclass(frozen=True)
class SystemResult:
    """Numbers of one system.

    Attributes:
        records: by case.
        overall: numbers that only all cases together have (slopes, distances of distributions).
    """

    records: Mapping[str, Values]
    overall: Mapping[str, Interval]

    def intervals(self) -> dict[str, Interval]:
        """Mean and confidence interval of every number."""
        names = list(dict.fromkeys(name for row in self.records.values() for name in row))
        found = {
            name: mean_interval([row[name] for row in self.records.values() if name in row])
            for name in names
        }
        return {**found, **self.overall}


@dataclass(frozen=True)
class ProtocolResult:
    """Results of one protocol.

    Attributes:
        protocol: what was done.
        cases: that were measured.
        total: length of the whole fixed list.
        list_hash: of the whole list.
        failed: why, by case.
        systems: ours and the baselines.
        groups: groups of the target and of a source, by case.
        seconds: that making the missing pictures took in this run.
        measuring: seconds of reading and measuring in this run.
    """

    protocol: Protocol
    cases: Sequence[Case]
    total: int
    list_hash: str
    failed: Mapping[str, str]
    systems: Mapping[str, SystemResult]
    groups: Mapping[str, Mapping[str, str]]
    seconds: float = 0.0
    measuring: float = 0.0

    @property
    def key(self) -> str | None:
        """The measure that tells worst and best: see ``protocols.yaml``; None: nothing fits."""
        rows = self.systems[next(iter(self.systems))].records.values()
        names = list(dict.fromkeys(name for row in rows for name in row))
        for wanted in self.protocol.key:
            fitting = [name for name in names if wanted in (name, name.partition("@")[0])]
            # The network that steers the model never judges where another can.
            fitting.sort(key=lambda name: name.endswith(f"@{OWN}"))
            if fitting:
                return fitting[0]
        # Without a judge of regions, for example: whatever tells better from worse.
        return next((name for name in names if self.meaning(name).better != "none"), None)

    def meaning(self, name: str) -> Measure:
        """How to read a number."""
        for part in self.protocol.metrics:
            if (found := metric(part).measures(name)) is not None:
                measure: Measure = found
                return measure
        return Measure(name, "none")

    def gaps(self, system: str) -> Iterator[tuple[str, Gap]]:
        """Groups of every number that has a better direction, for one system."""
        records = self.systems[system].records
        names = dict.fromkeys(name for row in records.values() for name in row)
        for name in names:
            if self.meaning(name).better == "none":
                continue
            keys = [key for key, row in records.items() if name in row]
            values = [records[key][name] for key in keys]
            for gap in gaps(values, [self.groups[key] for key in keys]):
                yield name, gap

    def _values(self) -> dict[str, dict[str, float | None]]:
        """Numbers of the first system, which is the one under test, by measure and case."""
        found: dict[str, dict[str, float | None]] = {}
        for key, row in self.systems[next(iter(self.systems))].records.items():
            for name, value in row.items():
                found.setdefault(name, {})[key] = _number(value)
        return found

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "about": self.protocol.about,
            "version": self.protocol.version,
            "cases": len(self.cases),
            "total": self.total,
            "list_hash": self.list_hash,
            "failed": dict(self.failed),
            "seconds": round(self.seconds, 2),
            "seconds_measuring": round(self.measuring, 2),
            "key": self.key,
            "list": {case.key: case.as_row() for case in self.cases},
            "values": self._values(),
            "systems": {
                system: {name: interval_json(i) for name, i in result.intervals().items()}
                for system, result in self.systems.items()
            },
            "labels": {
                name: self.meaning(name)._asdict()
                for result in self.systems.values()
                for name in result.intervals()
            },
            "groups": [
                {
                    "measure": name,
                    "division": gap.division,
                    "ratio": _number(gap.ratio),
                    "groups": {group: interval_json(i) for group, i in gap.groups.items()},
                }
                for name, gap in self.gaps(next(iter(self.systems)))
            ],
        }


def interval_json(interval: Interval) -> dict[str, Any]:
    """A number with its interval as plain data; None for what is not finite."""
    value, low, high = (_number(v) for v in interval[:3])
    return {"value": value, "low": low, "high": high, "count": interval.cases}


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
