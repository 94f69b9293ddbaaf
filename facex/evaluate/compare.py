# SPDX-License-Identifier: Apache-2.0
"""Two reports side by side, with the differences that matter.

A difference matters when the 95 % intervals of the two means do not overlap. That is stricter than
a test of the difference, and all that two reports allow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from facex.errors import OptionError
from facex.evaluate.bars import number
from facex.evaluate.report import label_of, rows_of


class Difference(NamedTuple):
    """One number in both reports.

    Attributes:
        protocol: name of the protocol.
        measure: name of the measure.
        label: how tables call it.
        first, second: the two values.
        verdict: ``better``, ``worse`` or ``differs`` (the second against the first) where it
            matters, else empty.
    """

    protocol: str
    measure: str
    label: str
    first: float
    second: float
    verdict: str


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
            verdict = _verdict(a, b, better)
            label = label_of(one, measure)
            found.append(Difference(name, measure, label, a["value"], b["value"], verdict))
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


def _list_of(protocol: Mapping[str, Any]) -> tuple[Any, ...]:
    return protocol["version"], protocol["list_hash"]


def _verdict(a: Mapping[str, Any], b: Mapping[str, Any], better: str) -> str:
    bounds = (a["low"], a["high"], b["low"], b["high"])
    if any(bound is None for bound in bounds):
        return ""
    if a["low"] <= b["high"] and b["low"] <= a["high"]:
        return ""
    if better == "none":
        return "differs"
    return "better" if (b["value"] > a["value"]) == (better == "up") else "worse"
