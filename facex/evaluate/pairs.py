# SPDX-License-Identifier: Apache-2.0
"""Lists of cases as files: those of others are read, and the fixed ones are written.

A list is a CSV with ``target``, one column for every other role of the protocol and, where it was
written here, ``variant`` and ``seed``; a list without these two takes the variants in turn and the
row's number as seed. So every command makes the same cases of the same file.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from facex.errors import OptionError, OutputError
from facex.evaluate.faces import FaceSet, encode_png
from facex.evaluate.masks import hole_mask
from facex.evaluate.protocols import Case, Protocol, cases_of, list_hash
from facex.imaging.write import write_bytes_atomic
from facex.recipes.values import TARGET

HASHES: Final = "hashes.json"
_VARIANT: Final = "variant"
_SEED: Final = "seed"
_LARGEST_SEED: Final = 2**32 - 1

Row = tuple[Case, int, dict[str, str]]
"""A case, its line in the file, and the whole row."""


def read_pairs(table: Path, protocol: Protocol, faces: FaceSet) -> list[Case]:
    """The cases of a list, in its order.

    Args:
        table: CSV with the column ``target`` and one for every other role of the protocol
            (``source``, ``driver``); ``variant`` and ``seed`` may be there. Faces are named as in
            the set; a suffix is ignored.
        protocol: what is done with each row.
        faces: the faces.

    Raises:
        OptionError: the table lacks a column or names what does not exist; line and name are said.
    """
    return [case for case, _, _ in read_cases(table, protocol, faces)]


def read_cases(
    table: Path, protocol: Protocol, faces: FaceSet, more: Sequence[str] = ()
) -> list[Row]:
    """The cases of a list with their rows; ``more`` are further columns that it must have.

    Raises:
        OptionError: as :func:`read_pairs`.
    """
    found: list[Row] = []
    columns = (*other_roles(protocol), TARGET, *more)
    for number, (line, row) in enumerate(read_rows(table, columns)):
        names = named_faces(table, line, row, protocol, faces)
        target = names.pop(TARGET)
        own = {role: target for role, who in protocol.pictures.items() if who == "self"}
        count = len(protocol.variants)
        variant = _whole(table, line, row, _VARIANT, number % count, count - 1)
        seed = _whole(table, line, row, _SEED, number, _LARGEST_SEED)
        found.append((Case(number, target, names | own, variant, seed), line, row))
    if not found:
        raise OptionError(f"{table} has no rows")
    return found


def write_lists(protocols: Sequence[Protocol], faces: FaceSet, folder: Path) -> list[Path]:
    """Write the fixed lists of protocols on a set of faces.

    For each ``NAME.csv``: the roles, ``variant`` and ``seed``, what is ``asked`` (the variant, as
    JSON), the name that the ``output`` should have and, for inpainting, the file of the ``hole``
    (PNG, white where the picture is hidden). ``hashes.json`` has the hash of every list and of the
    pixels of its holes.

    Raises:
        OutputError: the folder cannot be written.
    """
    paths: list[Path] = []
    hashes: dict[str, Any] = {}
    try:
        for protocol in protocols:
            cases = cases_of(protocol, faces)
            about: dict[str, Any] = {
                "version": protocol.version,
                "cases": len(cases),
                "list_hash": list_hash(protocol, cases),
            }
            if protocol.hole is not None:
                about["holes_hash"] = _write_holes(protocol, cases, faces.side, folder)
            hashes[protocol.name] = about
            paths.append(folder / f"{protocol.name}.csv")
            _write(paths[-1], _as_csv(protocol, cases).encode())
        paths.append(folder / HASHES)
        _write(paths[-1], (json.dumps(hashes, indent=1) + "\n").encode())
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    return paths


def _as_csv(protocol: Protocol, cases: Sequence[Case]) -> str:
    roles = [TARGET, *other_roles(protocol)]
    holes = ["hole"] if protocol.hole is not None else []
    file = io.StringIO()
    writer = csv.DictWriter(
        file, [*roles, _VARIANT, _SEED, "asked", "output", *holes],
        extrasaction="ignore", lineterminator="\n",
    )  # fmt: skip
    writer.writeheader()
    for case in cases:
        writer.writerow(
            {
                **case.as_row(),
                "asked": json.dumps(protocol.variants[case.variant]),
                "output": f"{case.key}.png",
                "hole": _hole_name(protocol, case),
            }
        )
    return file.getvalue()


def _write_holes(protocol: Protocol, cases: Sequence[Case], side: int, folder: Path) -> str:
    digest = hashlib.sha256()
    for case in cases:
        mask = hole_mask(protocol.hole, side, case.seed) if protocol.hole else None
        pixels = np.asarray(mask, np.uint8) * np.uint8(255)
        digest.update(pixels.tobytes())
        _write(folder / _hole_name(protocol, case), encode_png(pixels))
    return digest.hexdigest()[:16]


def _hole_name(protocol: Protocol, case: Case) -> str:
    return f"holes/{protocol.name}/{case.key}.png"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(path, content)


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
    found: dict[str, str] = {}
    for role in (TARGET, *other_roles(protocol)):
        # Names of faces may have dots of their own.
        name = row[role] if row[role] in faces.rows else Path(row[role]).stem
        if name not in faces.rows:
            raise OptionError(f"{table}, line {line}: there is no face {name!r} ({role})")
        found[role] = name
    return found


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


def _whole(
    table: Path, line: int, row: dict[str, str], column: str, default: int, largest: int
) -> int:
    """A whole number of a column that may be missing."""
    if column not in row:
        return default
    text = row[column] or ""
    if not text.isascii() or not text.isdigit() or int(text) > largest:
        raise OptionError(
            f"{table}, line {line}: {column} is {text!r}, but must be 0 to {largest} "
            "(or leave the column out)"
        )
    return int(text)
