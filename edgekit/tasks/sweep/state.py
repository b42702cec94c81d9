"""The state of a sweep in a SQLite file (WAL mode), so that it survives a crash. Only the sweep
writes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

from edgekit.errors import InputError
from edgekit.tasks.sqlite_file import SqliteFile
from edgekit.tasks.sweep.cells import SCHEMA_VERSION, Cell

_COLUMNS = [field.name for field in fields(Cell)]
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sweep (schema_version INTEGER NOT NULL, options TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cells (
    position INTEGER PRIMARY KEY,
    network TEXT NOT NULL,
    precision TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    exit_code INTEGER,
    message TEXT NOT NULL,
    seconds REAL,
    peak_megabytes REAL,
    sqnr REAL,
    agreement REAL,
    megabytes REAL,
    latency REAL,
    ratio REAL,
    started REAL,
    ended REAL,
    UNIQUE (network, precision)
);
"""


class State(SqliteFile):
    """The cells in a sweep's file."""

    kind = "the table of a sweep"
    other = "choose another folder"
    usable = "free some space, or choose another folder"

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")

    def begin(self, options: Mapping[str, Any], cells: Iterable[Cell]) -> None:
        """Writes the options and the waiting cells of a new sweep, or checks those of an existing
        one.

        Raises:
            InputError: the file belongs to a sweep with other options, or has another schema.
        """
        with self._explained():
            stored = self._connection.execute(
                "SELECT schema_version, options FROM sweep"
            ).fetchone()
            if stored is None:
                self._create(options, cells)
                return
        version, text = stored
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{self.path} has schema {version}, and this edgekit writes {SCHEMA_VERSION}",
                hint="choose another folder",
            )
        before, now = json.loads(text), json.loads(json.dumps(options))
        if others := [key for key in now if now[key] != before.get(key)]:
            told = "; ".join(
                f"{key}: {_short(before.get(key))}, now {_short(now[key])}" for key in others
            )
            raise InputError(
                f"the sweep in {self.path.parent} was started with other options ({told})",
                hint="give the same options to resume it, or choose another folder",
            )

    def _create(self, options: Mapping[str, Any], cells: Iterable[Cell]) -> None:
        marks = ", ".join("?" * len(_COLUMNS))
        insert = f"INSERT INTO cells ({', '.join(_COLUMNS)}) VALUES ({marks})"
        with self._transaction():
            self._connection.execute(
                "INSERT INTO sweep VALUES (?, ?)", (SCHEMA_VERSION, json.dumps(options))
            )
            self._connection.executemany(insert, [tuple(asdict(cell).values()) for cell in cells])

    def save(self, cell: Cell) -> None:
        """Replaces a cell's row."""
        values = asdict(cell)
        assignments = ", ".join(f"{column} = :{column}" for column in _COLUMNS)
        with self._explained():
            self._connection.execute(f"UPDATE cells SET {assignments} WHERE name = :name", values)

    def cells(self) -> tuple[Cell, ...]:
        """All rows, in order."""
        query = f"SELECT {', '.join(_COLUMNS)} FROM cells ORDER BY position"
        with self._explained():
            return tuple(Cell(*row) for row in self._connection.execute(query))


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
