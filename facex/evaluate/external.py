# SPDX-License-Identifier: Apache-2.0
"""Pictures made by others: a folder of outputs and a CSV of (source, target, output)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from facex.errors import ImageRejected, OptionError
from facex.evaluate.faces import FaceSet, Pixels
from facex.evaluate.pairs import make_case, named_faces, other_roles, read_rows
from facex.evaluate.protocols import Case, Protocol
from facex.evaluate.run import OURS
from facex.evaluate.store import Store
from facex.imaging.read import read_photo
from facex.recipes.values import TARGET

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
    columns = (*other_roles(protocol), *_COLUMNS)
    for number, (line, row) in enumerate(read_rows(table, columns)):
        names = named_faces(table, line, row, protocol, faces)
        path = outputs / row["output"]
        if not path.is_file():
            raise OptionError(f"{table}, line {line}: there is no file {path}")
        target = names.pop(TARGET)
        case = make_case(protocol, number, target, names, seed=0)
        if not store.has_picture(protocol.name, OURS, case.key):
            store.save_picture(protocol.name, OURS, case.key, _output(path, faces.side))
        cases.append(case)
    if not cases:
        raise OptionError(f"{table} has no rows")
    return cases


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
