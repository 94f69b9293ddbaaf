# SPDX-License-Identifier: Apache-2.0
"""One SQLite file behind one lock: the list of photos and the list of jobs."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any, Final

from facex.errors import OutputError

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS photos (
    id TEXT PRIMARY KEY, created REAL NOT NULL, info TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT UNIQUE NOT NULL, status TEXT NOT NULL, created REAL NOT NULL,
    started REAL, finished REAL, tries INTEGER NOT NULL DEFAULT 0,
    cancel INTEGER NOT NULL DEFAULT 0, request TEXT NOT NULL, target TEXT NOT NULL,
    label TEXT NOT NULL, recipe TEXT NOT NULL, error TEXT, result TEXT);
CREATE INDEX IF NOT EXISTS jobs_status ON jobs (status, number);
"""

VERSION: Final = 1


class Database:
    """A connection that several threads share.

    Args:
        path: the file; made when missing.

    Raises:
        OutputError: the file cannot be opened, or is of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode=WAL")
            found = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
            if found > VERSION:
                raise OutputError(f"{path} was written by a newer FaceX; use another data folder")
            self._connection.executescript(_SCHEMA)
            self._connection.execute(f"PRAGMA user_version={VERSION}")
        except sqlite3.Error as error:
            raise OutputError(f"the job list {path} cannot be used: {error}") from error

    def run(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        """Execute one statement and fetch all of its rows."""
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def one(self, statement: str, *values: Any) -> sqlite3.Row | None:
        """The first row of a statement."""
        rows = self.run(statement, *values)
        return rows[0] if rows else None

    def close(self) -> None:
        """Close the file; further calls fail."""
        with self._lock:
            self._connection.close()
