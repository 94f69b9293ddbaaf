# SPDX-License-Identifier: Apache-2.0
"""What came of a preparation: counts with reasons, seconds by stage, and what 10^7 would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from facex.imaging.write import write_bytes_atomic
from facex.prepare.collect import Totals
from facex.prepare.manifest import Verdicts
from facex.prepare.shard import to_json

NAME: Final = "report.json"
MANY: Final = 10_000_000

_PASS_FACE: Final = 5.0e-4
_PASS_PAIR: Final = _PASS_FACE / 33.5e6
"""Seconds of one core in the last pass for each face, as measured on 50,000 synthetic ones
(docs/prepare.md), and for each of all pairs: a face is compared with 16,384 others of its cells and
with a 2,048th of all. A small run cannot tell, for its faces have no cells."""

Report = dict[str, Any]


def make_report(
    totals: Totals,
    verdicts: Verdicts,
    failed_shards: Sequence[Mapping[str, Any]],
    damaged: Sequence[Mapping[str, str]],
    merge_seconds: Mapping[str, float],
) -> Report:
    """Everything that a person or a program may ask afterwards.

    Args:
        totals: sums over the finished shards.
        verdicts: of the last pass.
        failed_shards: number and error of shards that are missing.
        damaged: inputs that could not be planned.
        merge_seconds: of the last pass by stage.
    """
    kept = int(verdicts.kept.sum())
    seconds = sum(totals.timings.values())
    return {
        "photos": totals.photos,
        "faces_found": totals.found,
        "faces_in_shards": len(verdicts.kept),
        "kept": kept,
        "dropped": dict(sorted((totals.dropped + verdicts.dropped).items())),
        "people": {"count": verdicts.people, "largest": verdicts.largest},
        "shards": totals.shards,
        "bytes": totals.bytes,
        "failed_photos": totals.failed + len(damaged),
        "failures": [*damaged, *totals.failures],
        "failed_shards": list(failed_shards),
        "seconds": {name: round(value, 3) for name, value in totals.timings.items()},
        "merge_seconds": {name: round(value, 3) for name, value in merge_seconds.items()},
        "photos_per_core_second": round(totals.photos / seconds, 4) if seconds else None,
        "estimate": estimate(totals, len(verdicts.kept), kept),
    }


def estimate(totals: Totals, in_shards: int, kept: int, faces: int = MANY) -> dict[str, Any] | None:
    """What that many kept faces would cost, if the rest of the photos is like these.

    Args:
        totals: measured: one core worked on each shard.
        in_shards: faces that came of it, before the last pass.
        kept: faces that are left after it.
        faces: that are wanted.

    Returns:
        Photos to look at, hours of one core in all and by stage, hours of the last pass, which one
        core does alone and which is in the sum, days on 64 cores with it, terabytes; None if
        nothing was kept.
    """
    if not kept:
        return None
    factor = faces / kept
    hours = {name: value * factor / 3600 for name, value in totals.timings.items()}
    spread = sum(hours.values())
    looked_at = in_shards * factor
    hours["last pass"] = (_PASS_FACE * looked_at + _PASS_PAIR * looked_at**2) / 3600
    return {
        "faces": faces,
        "photos": round(totals.photos * factor),
        "core_hours": round(sum(hours.values()), 1),
        "core_hours_by_stage": {name: round(value, 1) for name, value in hours.items()},
        "last_pass_hours": round(hours["last pass"], 1),
        "days_on_64_cores": round((spread / 64 + hours["last pass"]) / 24, 2),
        "terabytes": round(totals.bytes * factor / 1e12, 2),
    }


def write_report(report: Report, out: Path) -> None:
    """Write ``report.json`` in one piece."""
    write_bytes_atomic(out / NAME, to_json(report))
