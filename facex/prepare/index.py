# SPDX-License-Identifier: Apache-2.0
"""What the user knows about the photos: rows of an index.csv, carried along with every face."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from facex.errors import OptionError

KEYS: Final = ("file", "name", "path", "filename", "file_name", "key")
"""The first column of this name says which photo a row is about."""

CARRIED: Final = ("licence", "consent", "person", "source")
"""Columns that every record and the manifest have; all others are kept beside them."""

_SPELLINGS: Final = {"license": "licence"}
_NO: Final = frozenset({"no", "n", "false", "0", "withdrawn", "refused", "denied"})

Row = dict[str, str]


@dataclass
class Index:
    """Rows by photo.

    A row names a photo by its path below the input folder, by its file name, or by that without
    suffix. A row that fits two photos is an error, because it speaks of licence and consent.

    Attributes:
        rows: by the name that the index gives the photo.
        columns: names of the columns in order, without the one that names the photo.
    """

    rows: Mapping[str, Row] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    _used: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: Path) -> Index:
        """Read a CSV file with a header line.

        Raises:
            OptionError: it cannot be read, names no photos, or one photo twice.
        """
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                lines = csv.DictReader(file)
                header = list(lines.fieldnames or ())
                key = next((name for name in KEYS if name in header), None)
                if key is None:
                    raise OptionError(
                        f"{path} says of no row which photo it is about: call that column "
                        f"{' or '.join(KEYS[:3])}"
                    )
                rows: dict[str, Row] = {}
                for line in lines:
                    name = (line.pop(key) or "").strip()
                    if name in rows:
                        raise OptionError(f"{path}, line {lines.line_num}: {name!r} comes twice")
                    rows[name] = {
                        _SPELLINGS.get(column, column): (value or "").strip()
                        for column, value in line.items()
                        if column is not None
                    }
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise OptionError(f"the index {path} cannot be read: {error}") from error
        columns = tuple(_SPELLINGS.get(name, name) for name in header if name != key)
        return cls(rows, columns)

    def take(self, photo: str) -> Row:
        """The row of a photo, given by its name as in the records; empty if there is none.

        Raises:
            OptionError: the row was taken for another photo before.
        """
        path = PurePosixPath(photo)
        for key in dict.fromkeys((photo, path.name, path.stem)):
            if key not in self.rows:
                continue
            first = self._used.setdefault(key, photo)
            if first != photo:
                raise OptionError(
                    f"the index's row {key!r} fits both {first} and {photo}: give their paths "
                    "below the input folder instead"
                )
            return self.rows[key]
        return {}

    def unused(self) -> int:
        """Number of rows that no photo has taken."""
        return len(self.rows) - len(self._used)


def refuses(row: Mapping[str, str]) -> bool:
    """Whether the row says that there is no consent; no word on it is no refusal."""
    return row.get("consent", "").strip().lower() in _NO
