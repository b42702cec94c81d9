"""The state of a sweep in a SQLite file (WAL mode), so that it survives a crash. Only the sweep
writes it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from edgekit.errors import EnvironmentLacks, InputError
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


class State:
    """The cells in a sweep's file. A context manager that closes it.

    Args:
        path: the file; created if missing.

    Raises:
        InputError: it is not the file of a sweep.
        EnvironmentLacks: it cannot be written; every method may raise this.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._explained():
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")

    def __enter__(self) -> State:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

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
                f"{self._path} has schema {version}, and this edgekit writes {SCHEMA_VERSION}",
                hint="choose another folder",
            )
        before, now = json.loads(text), json.loads(json.dumps(options))
        if others := [key for key in now if now[key] != before.get(key)]:
            told = "; ".join(
                f"{key}: {_short(before.get(key))}, now {_short(now[key])}" for key in others
            )
            raise InputError(
                f"the sweep in {self._path.parent} was started with other options ({told})",
                hint="give the same options to resume it, or choose another folder",
            )

    def _create(self, options: Mapping[str, Any], cells: Iterable[Cell]) -> None:
        marks = ", ".join("?" * len(_COLUMNS))
        insert = f"INSERT INTO cells ({', '.join(_COLUMNS)}) VALUES ({marks})"
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(
            "INSERT INTO sweep VALUES (?, ?)", (SCHEMA_VERSION, json.dumps(options))
        )
        self._connection.executemany(insert, [tuple(asdict(cell).values()) for cell in cells])
        self._connection.execute("COMMIT")

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

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise EnvironmentLacks(
                f"{self._path} cannot be used: {error}",
                hint="free some space, or choose another folder",
            ) from error
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{self._path} is not the table of a sweep: {error}", hint="choose another folder"
            ) from error


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
