# SPDX-License-Identifier: Apache-2.0
"""The analysis as JSON, Markdown and one HTML file with overlays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from facex.evaluate.analysis.reader import FordReader
from facex.evaluate.analysis.run import Analysis, Analyst
from facex.evaluate.bars import HEADER, analysis_rows, as_table, number
from facex.evaluate.bootstrap import Interval
from facex.evaluate.faces import Pixels
from facex.evaluate.page import SCRIPT, STYLE, data_uri, plain_table
from facex.evaluate.report import FORMAT
from facex.evaluate.summary import interval_json
from facex.ford.show import show_factors
from facex.imaging.write import write_bytes_atomic

NAME: Final = "ford"
"""Files are ``ford.json``, ``ford.md`` and ``ford.html``."""
_SHOWN: Final = 6
_GAP: Final = 4 / 3
_OVERLAYS: Final = ("mesh", "regions", "pose_gaze")

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""A title, the header and the rows."""


def as_data(
    analysis: Analysis,
    more: Mapping[str, Interval],
    notes: Sequence[str],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything as plain data.

    Args:
        analysis: of the faces.
        more: further measures: parser, detector, speed, size.
        notes: lines about single photos.
        about: the run: model, faces, judges, versions.
    """
    measures = {k: interval_json(v) for k, v in {**analysis.measures, **more}.items()}
    return {
        "format": FORMAT,
        "about": dict(about),
        "bars": [row.as_json() for row in analysis_rows(measures)],
        "measures": measures,
        "subset": analysis.subset,
        "disturbed": {
            item.change.name: {
                "about": item.change.about,
                "measures": {k: interval_json(v) for k, v in item.measures.items()},
            }
            for item in analysis.disturbed
        },
        "groups": [
            {
                "measure": measure,
                "division": gap.division,
                "ratio": gap.ratio if np.isfinite(gap.ratio) else None,
                "groups": {k: interval_json(v) for k, v in gap.groups.items()},
            }
            for measure, gap in analysis.groups
        ],
        "networks": {
            name: {k: interval_json(v) for k, v in row.items()}
            for name, row in analysis.networks.items()
        },
        "leaks": {code: dict(row) for code, row in analysis.leaks.items()},
        "notes": list(notes),
    }


def tables(data: Mapping[str, Any]) -> Iterator[Table]:
    """The tables of both reports."""
    yield "Bars", HEADER, [*as_table(analysis_rows(data["measures"]))]
    kinds = list(dict.fromkeys(k for row in data["disturbed"].values() for k in row["measures"]))
    yield (
        f"Disturbed, {data['subset']} faces",
        ("disturbance", *kinds),
        [
            (row["about"], *(_cell(row["measures"].get(kind)) for kind in kinds))
            for row in data["disturbed"].values()
        ],
    )
    yield (
        "Groups",
        ("measure", "division", "groups", "worst over best"),
        [
            (
                gap["measure"],
                gap["division"],
                ", ".join(
                    f"{k} {number(v['value'])} ({v['count']})" for k, v in gap["groups"].items()
                ),
                number(gap["ratio"]) + (" (!)" if (gap["ratio"] or np.inf) > _GAP else ""),
            )
            for gap in data["groups"]
        ],
    )
    yield (
        "Other recognisers on the same pairs",
        ("network", "AUC", "TAR at FAR 1 %"),
        [(k, _cell(v.get("auc")), _cell(v.get("tar"))) for k, v in data["networks"].items()],
    )
    parser = {k: v for k, v in data["measures"].items() if k.startswith("f1_")}
    yield (
        "Parser on rendered faces",
        ("classes", "F1"),
        [(name.removeprefix("f1_"), _cell(value)) for name, value in parser.items()],
    )
    labels = list(next(iter(data["leaks"].values()), {}))
    yield (
        "Leaks: share of variance that a linear probe reads",
        ("code", *labels),
        [(code, *(number(row[k]) for k in labels)) for code, row in data["leaks"].items()],
    )
    yield "Photos on which the detectors disagree", ("photo",), [(line,) for line in data["notes"]]


def markdown(data: Mapping[str, Any]) -> Iterator[str]:
    """Lines of the Markdown report."""
    yield "# FORD"
    yield ""
    for name, value in data["about"].items():
        yield f"- {name}: {value}"
    for title, header, rows in tables(data):
        if rows:
            yield from ("", f"## {title}", "", "| " + " | ".join(header) + " |")
            yield "| " + " | ".join("---" for _ in header) + " |"
            yield from ("| " + " | ".join(row) + " |" for row in rows)


def write_page(data: Mapping[str, Any], analysis: Analysis, analyst: Analyst, folder: Path) -> Path:
    """Write the HTML report; returns the file."""
    path = folder / f"{NAME}.html"
    write_bytes_atomic(path, "\n".join(_page(data, analysis, analyst)).encode())
    return path


def _page(data: Mapping[str, Any], analysis: Analysis, analyst: Analyst) -> Iterator[str]:
    yield "<!doctype html><html lang=en><meta charset=utf-8>"
    yield "<meta name=viewport content='width=device-width, initial-scale=1'>"
    yield f"<title>FORD</title><style>{STYLE}</style><h1>FORD</h1><ul>"
    yield from (f"<li>{escape(k)}: {escape(str(v))}</li>" for k, v in data["about"].items())
    yield "</ul>"
    for title, header, rows in tables(data):
        if rows:
            yield f"<h2>{escape(title)}</h2>"
            yield from plain_table(header, rows)
    errors = analysis.disturbed[0].errors
    worst = sorted(errors, key=lambda name: -errors[name]["landmarks"])[:_SHOWN]
    for title, names in (
        ("Some faces", analysis.names[-_SHOWN:]),
        ("Largest landmark errors", worst),
    ):
        yield f"<h2>{title}</h2>"
        for name in names:
            yield overlay_row(name, analyst.faces.image(name), analyst.reader)
    yield f"<script>{SCRIPT}</script></html>"


def overlay_row(
    name: str, picture: Pixels, reader: FordReader, labels: np.ndarray | None = None
) -> str:
    """A row of overlays of one face; true masks beside where there are some."""
    rep = reader.represent([picture])
    crop = reader.crops([picture]).cpu()
    shown = {"photo": picture}
    factors = show_factors(crop, rep)
    shown |= {key: np.asarray(factors[key]) for key in _OVERLAYS}
    if labels is not None:
        known = np.where(labels == 255, 0, labels).astype(np.uint8)
        true = replace(rep, parsing=torch.from_numpy(known)[None])
        shown["true regions"] = np.asarray(show_factors(crop, true)["regions"])
    cells = (
        f"<div>{escape(key)}<img loading=lazy alt='{escape(key)} of {escape(name)}' "
        f"src='{data_uri(value)}'></div>"
        for key, value in shown.items()
    )
    return f"<figure><div>{escape(name)}</div>{''.join(cells)}</figure>"


def _cell(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return ""
    if value["low"] is None:
        return number(value["value"])
    return f"{number(value['value'])} [{number(value['low'])}, {number(value['high'])}]"
