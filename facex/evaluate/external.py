# SPDX-License-Identifier: Apache-2.0
"""Pictures made by others: a folder of outputs and a CSV of (source, target, output)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from facex.errors import ImageRejected, OptionError
from facex.evaluate.faces import FaceSet, Pixels
from facex.evaluate.pairs import read_cases
from facex.evaluate.protocols import Case, Protocol
from facex.evaluate.run import OURS
from facex.evaluate.store import Store
from facex.imaging.read import read_photo

_OUTPUT: Final = "output"
_MASK: Final = "mask"


@dataclass(frozen=True)
class Outputs:
    """The pictures of another system.

    Attributes:
        cases: the whole list, which is what retrieval searches.
        files: pictures of the cases that are measured, in the list's order.
        masks: where each may differ from the target, for as many as the table names.
        digests: hash of the files of each of these cases by its key, 16 hexadecimal digits.
    """

    cases: list[Case]
    files: list[Path]
    masks: dict[int, Path]
    digests: dict[str, str]


def find_outputs(
    table: Path, folder: Path, protocol: Protocol, faces: FaceSet, count: int | None = None
) -> Outputs:
    """Find and hash the pictures that a table names.

    Args:
        table: a list as ``pairs.read_pairs`` takes it with the further column ``output``, and
            ``mask`` where a system says what it may change (white; a change elsewhere is counted).
        folder: of the outputs and masks: aligned crops in the target's place.
        protocol: what the outputs should be.
        faces: the faces.
        count: measure the first so many of the list; None: all.

    Raises:
        OptionError: the table lacks a column or names what does not exist; line and name are said.
    """
    rows = read_cases(table, protocol, faces, [_OUTPUT])
    files, masks, digests = [], {}, {}
    for case, line, row in rows[:count]:
        digest = hashlib.sha256()
        named = {_OUTPUT: folder / row[_OUTPUT]}
        if row.get(_MASK):
            named[_MASK] = masks[case.number] = folder / row[_MASK]
        files.append(named[_OUTPUT])
        for what, path in named.items():
            if not path.is_file():
                raise OptionError(f"{table}, line {line}: there is no file {path}")
            digest.update(f"{what},{path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
        digests[case.key] = digest.hexdigest()[:16]
    return Outputs([case for case, _, _ in rows], files, masks, digests)


def take_in(outputs: Outputs, protocol: Protocol, side: int, store: Store) -> None:
    """Put the outputs where a run looks for its own pictures.

    Args:
        outputs: as found; the store must have been opened for their hashes.
        protocol: what they are.
        side: to which they are brought, pixels.
        store: where the run keeps things.

    Raises:
        ImageRejected: an output is no picture, or not square.
    """
    for case, path in zip(outputs.cases, outputs.files, strict=False):
        if store.has_picture(protocol.name, OURS, case.key):
            continue
        if case.number in outputs.masks:
            mask = _square(outputs.masks[case.number], side).max(-1)
            store.save_picture(protocol.name, "mask", case.key, mask)
        # Last, because its presence says that the case is complete.
        store.save_picture(protocol.name, OURS, case.key, _square(path, side))


def _square(path: Path, side: int) -> Pixels:
    image = read_photo(path).image.convert("RGB")
    if abs(image.width - image.height) > 1:
        raise ImageRejected(
            f"{path} is {image.width} x {image.height}, but outputs are aligned crops like the "
            "faces; cut out the face first"
        )
    if image.width != side:
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image, np.uint8)
