# SPDX-License-Identifier: Apache-2.0
"""A run as JSON and as a Markdown table; ``page`` draws the same data as HTML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from facex.errors import OptionError
from facex.evaluate.bars import HEADER, as_table, generator_rows, number
from facex.evaluate.summary import ProtocolResult
from facex.imaging.write import write_bytes_atomic

FORMAT: Final = 1
JSON_NAME: Final = "report.json"
MARKDOWN_NAME: Final = "report.md"
_ARROWS: Final = {"up": " ↑", "down": " ↓", "none": ""}
_GAP: Final = 4 / 3
"""Ratio of the worst to the best group from which on a gap is called a defect."""


def as_data(results: Sequence[ProtocolResult], about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything of a run as plain data.

    Args:
        results: of the protocols.
        about: the run: model, faces, judges, versions.
    """
    protocols = {result.protocol.name: result.as_json() for result in results}
    return {
        "format": FORMAT,
        "about": dict(about),
        "bars": [row.as_json() for row in generator_rows(protocols)],
        "protocols": protocols,
    }


def read_report(path: Path) -> dict[str, Any]:
    """Read the JSON of a run; a folder means the file in it.

    Raises:
        OptionError: there is none, or it is no report of this format.
    """
    file = path / JSON_NAME if path.is_dir() else path
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"{file} is no readable report ({error})") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT or "protocols" not in data:
        raise OptionError(f"{file} is no report of format {FORMAT}")
    return data


def write_json(data: Mapping[str, Any], folder: Path) -> Path:
    """Write the data; returns the file."""
    path = folder / JSON_NAME
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    write_bytes_atomic(path, text.encode())
    return path


def write_markdown(data: Mapping[str, Any], folder: Path) -> Path:
    """Write the tables; returns the file."""
    path = folder / MARKDOWN_NAME
    write_bytes_atomic(path, ("\n".join(markdown(data)) + "\n").encode())
    return path


def markdown(data: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the Markdown report."""
    yield "# FaceX evaluation"
    yield ""
    for name, value in data["about"].items():
        yield f"- {name}: {value}"
    bars = as_table(generator_rows(data["protocols"]))
    if bars:
        yield from ("", "## Bars", "", "| " + " | ".join(HEADER) + " |")
        yield "| --- |" + " --- |" * (len(HEADER) - 1)
        yield from ("| " + " | ".join(row) + " |" for row in bars)
    for name, protocol in data["protocols"].items():
        yield ""
        yield f"## {name}"
        yield ""
        yield (
            f"{protocol['about']} {protocol['cases']} of {protocol['total']} cases, "
            f"list {protocol['list_hash']}, version {protocol['version']}."
        )
        if protocol["failed"]:
            yield f"{len(protocol['failed'])} failed: " + "; ".join(
                f"{case} {why}" for case, why in list(protocol["failed"].items())[:5]
            )
        yield ""
        yield from _table(protocol)
        yield from _groups(protocol)


def rows_of(protocol: Mapping[str, Any]) -> list[str]:
    """Measures of a protocol in the order of its table."""
    return list(dict.fromkeys(name for s in protocol["systems"].values() for name in s))


def label_of(protocol: Mapping[str, Any], measure: str) -> str:
    """What a measure is called, with an arrow to its better end."""
    meaning = protocol["labels"].get(measure, {"label": measure, "better": "none"})
    suffix = measure.partition(":")[2] or measure.partition("@")[2]
    detail = f" ({suffix})" if suffix and suffix not in meaning["label"] else ""
    return f"{meaning['label']}{detail}{_ARROWS[meaning['better']]}"


def _table(protocol: Mapping[str, Any]) -> Iterator[str]:
    systems = list(protocol["systems"])
    yield "| measure | " + " | ".join(systems) + " |"
    yield "| --- |" + " --- |" * len(systems)
    for measure in rows_of(protocol):
        cells = []
        for system in systems:
            found = protocol["systems"][system].get(measure)
            if found is None:
                cells.append("")
                continue
            text = number(found["value"])
            if found["low"] is not None:
                text += f" [{number(found['low'])}, {number(found['high'])}]"
            cells.append(text)
        yield f"| {label_of(protocol, measure)} | " + " | ".join(cells) + " |"


def _groups(protocol: Mapping[str, Any]) -> Iterator[str]:
    wide = [g for g in protocol["groups"] if g["ratio"] is None or g["ratio"] > _GAP]
    if not wide:
        return
    yield ""
    yield "Gaps between groups of more than a third:"
    yield ""
    for gap in wide:
        parts = ", ".join(
            f"{group} {number(i['value'])} ({i['count']})" for group, i in gap["groups"].items()
        )
        yield f"- {label_of(protocol, gap['measure'])}, by {gap['division']}: {parts}"
