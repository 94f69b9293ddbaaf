# SPDX-License-Identifier: Apache-2.0
"""Pictures made by others: a folder of outputs and a CSV of (source, target, output)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from facex.errors import ImageRejected, OptionError
from facex.evaluate.faces import FaceSet, Pixels
from facex.evaluate.protocols import Case, Protocol
from facex.evaluate.run import OURS
from facex.evaluate.store import Store
from facex.imaging.read import read_photo
from facex.recipes.values import SOURCE, TARGET

_COLUMNS: Final = (TARGET, "output")


def take_in(
    table: Path, outputs: Path, protocol: Protocol, faces: FaceSet, store: Store
) -> list[Case]:
    """Put the outputs where a run looks for its own pictures; returns the cases.

    Args:
        table: CSV with the columns ``target`` and ``output`` and one for every other role of the
            protocol (``source``, ``driver``). Faces are named as in the set; a suffix is ignored.
        outputs: folder of the outputs: aligned crops in the target's place.
        protocol: what the outputs should be.
        faces: the faces.
        store: where the run keeps things.

    Raises:
        OptionError: the table lacks a column or names what does not exist; line and name are said.
        ImageRejected: an output is no picture, or not square.
    """
    cases = []
    for number, (line, row) in enumerate(_rows(table, protocol)):
        names = {role: Path(row[role]).stem for role in (TARGET, *_roles(protocol))}
        for role, name in names.items():
            if name not in faces.names:
                raise OptionError(f"{table}, line {line}: there is no face {name!r} ({role})")
        path = outputs / row["output"]
        if not path.is_file():
            raise OptionError(f"{table}, line {line}: there is no file {path}")
        target = names.pop(TARGET)
        pictures = names | {r: target for r, who in protocol.pictures.items() if who == "self"}
        case = Case(number, target, pictures, number % len(protocol.variants), 0)
        if not store.has_picture(protocol.name, OURS, case.key):
            store.save_picture(protocol.name, OURS, case.key, _output(path, faces.side))
        cases.append(case)
    if not cases:
        raise OptionError(f"{table} has no rows")
    return cases


def _roles(protocol: Protocol) -> list[str]:
    return [role for role, who in protocol.pictures.items() if who == "other"]


def _rows(table: Path, protocol: Protocol) -> Iterator[tuple[int, dict[str, str]]]:
    wanted = [*_roles(protocol), *_COLUMNS] or [SOURCE, *_COLUMNS]
    try:
        with open(table, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in wanted if name not in (reader.fieldnames or ())]
            if missing:
                raise OptionError(f"{table} has no column {missing[0]!r}; it needs {wanted}")
            for row in reader:
                empty = [name for name in wanted if not row[name]]
                if empty:
                    raise OptionError(f"{table}, line {reader.line_num}: {empty[0]} is empty")
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"{table} cannot be read: {error}") from error


def _output(path: Path, side: int) -> Pixels:
    image = read_photo(path).image.convert("RGB")
    if abs(image.width - image.height) > 1:
        raise ImageRejected(
            f"{path} is {image.width} x {image.height}, but outputs are aligned crops like the "
            "faces; cut out the face first"
        )
    if image.width != side:
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image, np.uint8)
