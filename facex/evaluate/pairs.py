# SPDX-License-Identifier: Apache-2.0
"""Pair lists of others: a CSV of targets and sources in place of the list that a protocol draws."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from facex.errors import OptionError
from facex.evaluate.faces import FaceSet
from facex.evaluate.protocols import Case, Protocol
from facex.recipes.values import TARGET


def read_pairs(table: Path, protocol: Protocol, faces: FaceSet) -> list[Case]:
    """The cases of a list, in its order.

    Args:
        table: CSV with the column ``target`` and one for every other role of the protocol
            (``source``, ``driver``). Faces are named as in the set; a suffix is ignored.
        protocol: what is done with each row.
        faces: the faces.

    Raises:
        OptionError: the table lacks a column or names what does not exist; line and name are said.
    """
    cases = []
    columns = (*other_roles(protocol), TARGET)
    for number, (line, row) in enumerate(read_rows(table, columns)):
        names = named_faces(table, line, row, protocol, faces)
        target = names.pop(TARGET)
        cases.append(make_case(protocol, number, target, names, seed=number))
    if not cases:
        raise OptionError(f"{table} has no rows")
    return cases


def make_case(
    protocol: Protocol, number: int, target: str, names: dict[str, str], seed: int
) -> Case:
    """Row ``number`` of a list as a case; roles of the target itself are filled in."""
    own = {role: target for role, who in protocol.pictures.items() if who == "self"}
    return Case(number, target, names | own, number % len(protocol.variants), seed)


def other_roles(protocol: Protocol) -> list[str]:
    """Roles that somebody else than the target plays."""
    return [role for role, who in protocol.pictures.items() if who != "self"]


def named_faces(
    table: Path, line: int, row: dict[str, str], protocol: Protocol, faces: FaceSet
) -> dict[str, str]:
    """Faces of a row by role.

    Raises:
        OptionError: there is no such face.
    """
    names = {role: Path(row[role]).stem for role in (TARGET, *other_roles(protocol))}
    for role, name in names.items():
        if name not in faces.rows:
            raise OptionError(f"{table}, line {line}: there is no face {name!r} ({role})")
    return names


def read_rows(table: Path, wanted: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and rows of a CSV in which no wanted column is missing or empty.

    Raises:
        OptionError: one is, or the file cannot be read.
    """
    try:
        with open(table, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in wanted if name not in (reader.fieldnames or ())]
            if missing:
                raise OptionError(f"{table} has no column {missing[0]!r}; it needs {list(wanted)}")
            for row in reader:
                empty = [name for name in wanted if not row[name]]
                if empty:
                    raise OptionError(f"{table}, line {reader.line_num}: {empty[0]} is empty")
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"{table} cannot be read: {error}") from error
