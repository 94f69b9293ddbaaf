# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML file that needs nothing else: tables, plots, contact sheets."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from facex.evaluate.bars import HEADER, as_table, generator_rows, number
from facex.evaluate.protocols import Case
from facex.evaluate.report import label_of, rows_of
from facex.evaluate.run import OURS, Runner
from facex.evaluate.summary import ProtocolResult
from facex.imaging.write import write_bytes_atomic

HTML_NAME: Final = "report.html"
_RANDOM: Final = 5
_EXTREME: Final = 3
"""Rows of random cases, and of the worst and of the best each."""

STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --bar: #3b82f6; --other: #8888; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 78rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
.scroll { overflow-x: auto; } small { opacity: .7; } td small { display: block; }
figure { margin: .4rem 0; display: flex; gap: .25rem; align-items: end; flex-wrap: wrap; }
figure div { font-size: 12px; } figure img { width: 128px; display: block; cursor: zoom-in; }
figure img.full { width: 512px; cursor: zoom-out; } svg text { fill: currentColor; }
nav a { margin-right: .8rem; } h2 { margin-top: 3rem; }
"""
SCRIPT: Final = """
for (const image of document.querySelectorAll('figure img')) {
  image.tabIndex = 0;
  const turn = () => image.classList.toggle('full');
  image.addEventListener('click', turn);
  image.addEventListener('keydown', e => { if (e.key === 'Enter') turn(); });
}
"""


def write_page(
    data: Mapping[str, Any], results: Sequence[ProtocolResult], runner: Runner, folder: Path
) -> Path:
    """Write the HTML report; returns the file."""
    path = folder / HTML_NAME
    write_bytes_atomic(path, "\n".join(_page(data, results, runner)).encode())
    return path


def _page(
    data: Mapping[str, Any], results: Sequence[ProtocolResult], runner: Runner
) -> Iterator[str]:
    yield "<!doctype html><html lang=en><meta charset=utf-8>"
    yield "<meta name=viewport content='width=device-width, initial-scale=1'>"
    yield f"<title>FaceX evaluation</title><style>{STYLE}</style><h1>FaceX evaluation</h1><ul>"
    for name, value in data["about"].items():
        yield f"<li>{escape(name)}: {escape(str(value))}</li>"
    yield "</ul><p>Brackets are 95 % bootstrap intervals of the mean. Arrows point to better.</p>"
    yield from plain_table(HEADER, as_table(generator_rows(data["protocols"])))
    yield "<nav>"
    for name in data["protocols"]:
        yield f"<a href='#{escape(name)}'>{escape(name)}</a>"
    yield "</nav>"
    for result in results:
        protocol = data["protocols"][result.protocol.name]
        title = escape(result.protocol.name)
        yield f"<section id='{title}'><h2>{title}</h2>"
        yield f"<p>{escape(protocol['about'])} <small>{protocol['cases']} of {protocol['total']} "
        yield f"cases, {len(protocol['failed'])} failed, list {protocol['list_hash']}.</small></p>"
        yield from _table(protocol)
        key = result.key
        if key is not None:
            yield _plot(protocol, key)
        yield from _groups(protocol, key)
        yield from _sheets(result, runner, key)
        yield "</section>"
    yield f"<script>{SCRIPT}</script></html>"


def plain_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table of words; nothing for no rows."""
    if not rows:
        return
    yield "<div class=scroll><table><tr>"
    yield "".join(f"<th>{escape(cell)}</th>" for cell in header) + "</tr>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
    yield "</table></div>"


def _table(protocol: Mapping[str, Any]) -> Iterator[str]:
    systems = list(protocol["systems"])
    yield "<div class=scroll><table><tr><th>measure</th>"
    yield "".join(f"<th>{escape(system)}</th>" for system in systems) + "</tr>"
    for measure in rows_of(protocol):
        yield f"<tr><td>{escape(label_of(protocol, measure))}</td>"
        for system in systems:
            found = protocol["systems"][system].get(measure)
            text = "" if found is None else number(found["value"])
            if found is not None and found["low"] is not None:
                text += f" <small>[{number(found['low'])}, {number(found['high'])}]</small>"
            yield f"<td>{text}</td>"
        yield "</tr>"
    yield "</table></div>"


def _groups(protocol: Mapping[str, Any], key: str | None) -> Iterator[str]:
    """Every number by group, folded away: the key measure first, then the widest gaps."""
    gaps = sorted(
        protocol["groups"],
        key=lambda gap: (gap["measure"] != key, -(gap["ratio"] or float("inf"))),
    )
    rows = []
    for gap in gaps:
        for place, (group, found) in enumerate(gap["groups"].items()):
            first = (label_of(protocol, gap["measure"]), gap["division"], number(gap["ratio"]))
            rows.append(
                (
                    *(first if place == 0 else ("", "", "")),
                    group,
                    str(found["count"]),
                    number(found["value"]),
                    f"[{number(found['low'])}, {number(found['high'])}]",
                )
            )
    if rows:
        yield f"<details><summary>By group ({len(gaps)} divisions)</summary>"
        yield "<p><small>Gap: largest over smallest mean of a division. "
        yield "Small groups have wide intervals.</small></p>"
        yield from plain_table(("measure", "by", "gap", "group", "n", "mean", "95 %"), rows)
        yield "</details>"


def _plot(protocol: Mapping[str, Any], measure: str) -> str:
    """Bars with intervals, one a system."""
    rows = [(s, v[measure]) for s, v in protocol["systems"].items() if measure in v]
    rows = [(s, v) for s, v in rows if v["value"] is not None]
    top = max([v["high"] or v["value"] for _, v in rows] + [1e-6])
    parts = [f"<p><small>{escape(label_of(protocol, measure))}</small></p>"]
    parts.append(f"<svg width=560 height={24 * len(rows)} role=img aria-label='bars'>")
    for place, (system, value) in enumerate(rows):
        y, length = 24 * place, 380 * max(value["value"], 0) / top
        colour = "var(--bar)" if system == OURS else "var(--other)"
        parts.append(f"<text x=0 y={y + 16} font-size=13>{escape(system)}</text>")
        parts.append(f"<rect x=110 y={y + 4} width={length:.1f} height=15 fill='{colour}'/>")
        if value["low"] is not None:
            low, high = (110 + 380 * max(value[k], 0) / top for k in ("low", "high"))
            parts.append(
                f"<line x1={low:.1f} x2={high:.1f} y1={y + 11} y2={y + 11} stroke=currentColor />"
            )
    return "".join(parts) + "</svg>"


def _sheets(result: ProtocolResult, runner: Runner, key: str | None) -> Iterator[str]:
    cases = list(result.cases)
    if not cases:
        return
    order = np.random.default_rng(0).permutation(len(cases))[:_RANDOM]
    yield "<h3>Random cases</h3>"
    for index in sorted(order):
        yield _row(result, runner, cases[index])
    if key is None or len(cases) < 2 * _EXTREME:
        return
    records = result.systems[OURS].records
    known = [case for case in cases if key in records[case.key]]
    up = result.meaning(key).better == "up"
    known.sort(key=lambda case: records[case.key][key], reverse=up)
    for title, chosen in (("Worst", known[-_EXTREME:][::-1]), ("Best", known[:_EXTREME])):
        yield f"<h3>{title} by {escape(result.meaning(key).label)}</h3>"
        for case in chosen:
            yield _row(result, runner, case, f"{number(records[case.key][key])}")


def _row(result: ProtocolResult, runner: Runner, case: Case, note: str = "") -> str:
    cells = [(role, runner.faces.image(name)) for role, name in case.faces.items()]
    hole = runner.hole(result.protocol, case)
    if hole is not None:
        shown = cells[0][1] * (1 - hole[..., None]) + 128 * hole[..., None]
        cells.append(("with its hole", shown.astype(np.uint8)))
    for system in result.systems:
        if system != "target":
            cells.append((system, runner.picture(result.protocol, system, case)))
    parts = [f"<div>{case.key}<br>{note}</div>"]
    for name, pixels in cells:
        parts.append(
            f"<div>{escape(name)}<img loading=lazy alt='{escape(name)} of case {case.key}' "
            f"src='{data_uri(pixels)}'></div>"
        )
    return f"<figure>{''.join(parts)}</figure>"


def data_uri(pixels: np.ndarray) -> str:
    """A picture ``(H, W, 3)`` uint8 as part of a page."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).convert("RGB").save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
