# SPDX-License-Identifier: Apache-2.0
"""Two reports: the same cases are compared one by one, slopes too; distances by their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from facex.errors import OptionError
from facex.evaluate.bootstrap import Interval
from facex.evaluate.compare import differences, table
from facex.evaluate.metrics.motion import summarise
from facex.evaluate.protocols import Case, protocol_table
from facex.evaluate.report import as_data
from facex.evaluate.summary import ProtocolResult, SystemResult

COUNT = 30


def report(
    rows: Sequence[Mapping[str, float]], overall: Mapping[str, Interval] | None = None,
    listed: str = "same",
) -> dict[str, Any]:  # fmt: skip
    """A report of one protocol with these numbers."""
    cases = [Case(i, f"t{i}", {}, 0, 0) for i in range(len(rows))]
    records = {case.key: dict(row) for case, row in zip(cases, rows, strict=True)}
    result = ProtocolResult(
        protocol_table()["pose-sliders"], cases, len(cases), listed, {},
        {"ours": SystemResult(records, {**summarise(rows), **(overall or {})})},
        {case.key: {} for case in cases},
    )  # fmt: skip
    return as_data([result], {})


def sliders(slope: float, seed: int = 0) -> list[dict[str, float]]:
    """Cases that are hard or easy by themselves, moved by a share of what was asked."""
    random = np.random.default_rng(seed)
    asked, hard = random.choice([-20.0, 10, 30], COUNT), random.normal(0, 4, COUNT)
    cosines = random.normal(0.5, 0.2, COUNT)
    return [
        {"asked:yaw": a, "moved:yaw": slope * a + h, "cosine@net": c}
        for a, h, c in zip(asked, hard, cosines, strict=True)
    ]


def verdicts(first: dict[str, Any], second: dict[str, Any]) -> dict[str, str]:
    return {item.measure: item.verdict for item in differences(first, second)}


def test_a_better_slope_is_better() -> None:
    found = verdicts(report(sliders(0.2)), report(sliders(0.9)))
    assert found["slope:yaw"] == found["slope:all"] == "better"
    assert found["cosine@net"] == ""
    back = verdicts(report(sliders(0.9)), report(sliders(0.2)))
    assert back["slope:yaw"] == "worse"


def test_a_small_change_of_every_case_is_found_though_the_means_overlap() -> None:
    one, two = sliders(0.5), sliders(0.5)
    for row in two:
        row["cosine@net"] += 0.02
    first, second = report(one), report(two)
    systems = [r["protocols"]["pose-sliders"]["systems"]["ours"] for r in (first, second)]
    assert systems[0]["cosine@net"]["high"] > systems[1]["cosine@net"]["low"]
    (found,) = (d for d in differences(first, second) if d.measure == "cosine@net")
    assert (found.verdict, found.paired) == ("better", True)
    assert any("cosine" in line for line in table([found]))


def test_chance_alone_is_seldom_more() -> None:
    one, found = report(sliders(0.5)), 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        two = sliders(0.5)
        for row in two:
            row["cosine@net"] += random.normal(0, 0.02)
            row["moved:yaw"] += random.normal(0, 0.5)
        said = verdicts(one, report(two))
        found += bool(said["cosine@net"]) + bool(said["slope:all"])
    assert found <= 5  # of forty, and two are what 95 % mean


@pytest.mark.parametrize(("low", "high", "verdict"), [(1.5, 2.5, ""), (0.5, 0.8, "better")])
def test_distances_and_older_reports_go_by_their_intervals(
    low: float, high: float, verdict: str
) -> None:
    rows = sliders(0.5)
    fid = {"fid-net": Interval(2.0, 1.4, 2.6, COUNT)}, {"fid-net": Interval(low, low, high, COUNT)}
    first, second = (report(rows, overall) for overall in fid)
    assert verdicts(first, second)["fid-net"] == verdict
    for old in (first, second):
        del old["protocols"]["pose-sliders"]["values"]
    assert verdicts(first, second)["fid-net"] == verdict
    assert not any(item.paired for item in differences(first, second))


def test_other_lists_are_not_compared() -> None:
    with pytest.raises(OptionError, match="same list"):
        differences(report(sliders(0.5)), report(sliders(0.5), listed="another"))
