"""Earlier benches in a SQLite file, with one transaction per bench. So a killed process never
leaves an incomplete bench, and processes that write at the same time wait for each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from edgekit.advice import Advice
from edgekit.errors import EdgekitError, EnvironmentLacks, InputError
from edgekit.files import no_file
from edgekit.reports.bench import BenchReport
from edgekit.tasks.sqlite_file import SqliteFile

FILE = "bench.sqlite3"
APPLICATION = 0x65646765  # "edge": marks the file as a history of edgekit
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    created TEXT NOT NULL,
    report TEXT NOT NULL
);
"""


def default_history() -> Path:
    """The default file of the history, in the user's data folder."""
    return user_data_path("edgekit", appauthor=False) / FILE


def usable_history() -> tuple[Path | None, str | None]:
    """The default history; None with the reason if it cannot be used."""
    path = default_history()
    try:
        with History(path):
            return path, None
    except EdgekitError as error:
        return None, error.message


class History(SqliteFile):
    """The benches in a file, whose folder is created if it is missing.

    Raises:
        InputError: the file is not a history, or has another schema.
        EnvironmentLacks: the file cannot be used; every method may raise this.
    """

    label = "`history` "
    kind = "a history of benches"
    other = usable = "name another file"
    wait = 60.0

    def __init__(self, path: Path) -> None:
        if path.exists() and (reason := no_file(path)):
            raise InputError(f"`history` {path}: {reason}", hint="name a file")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentLacks(
                f"`history` {path} cannot be used: {error.strerror or error}", hint=self.usable
            ) from error
        super().__init__(path)

    def save(self, report: BenchReport) -> BenchReport:
        """Adds a bench; returns it with its number. If the file cannot be used any more, a warning
        says so, because a result that took hours must not be lost.
        """
        try:
            number = self.append(report)
        except EdgekitError as error:
            why = f"this bench is not saved: {error.message}"
            unsaved = Advice(why, "its json can be compared with later benches too")
            return replace(report, advice=(*report.advice, unsaved))
        return replace(report, history=str(self.path), number=number)

    def append(self, report: BenchReport) -> int:
        """Adds a bench; returns its number."""
        row = (report.created, json.dumps(report.to_json()))
        with self._explained(), self._transaction():
            added = self._connection.execute(
                "INSERT INTO runs (created, report) VALUES (?, ?)", row
            )
        assert added.lastrowid is not None
        return added.lastrowid

    def find(self, number: int) -> Any:
        """The JSON of a bench.

        Raises:
            InputError: there is no bench with this number, or it is damaged.
        """
        with self._explained():
            row = self._connection.execute(
                "SELECT report FROM runs WHERE id = ?", (number,)
            ).fetchone()
        if row is None:
            numbers = self._numbers()
            known = f"{numbers[0]} to {numbers[1]}" if numbers else "none yet"
            raise InputError(
                f"there is no bench {number} in {self.path}", hint=f"its numbers: {known}"
            )
        return self._read(number, row[0])

    def newest_first(self) -> Iterator[tuple[int, Any]]:
        """Number and JSON of every bench, the newest first.

        Raises:
            InputError: one is damaged.
        """
        with self._explained():
            for number, text in self._connection.execute(
                "SELECT id, report FROM runs ORDER BY id DESC"
            ):
                yield number, self._read(number, text)

    def _read(self, number: int, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise InputError(
                f"bench {number} in {self.path} is damaged: {error}",
                hint="give the number of another bench, or its json file",
            ) from error

    def _numbers(self) -> tuple[int, int] | None:
        with self._explained():
            first, last = self._connection.execute("SELECT MIN(id), MAX(id) FROM runs").fetchone()
        return None if first is None else (first, last)

    def _prepare(self) -> None:
        with self._transaction():
            (mark,) = self._connection.execute("PRAGMA application_id").fetchone()
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            (tables,) = self._connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            if tables and mark != APPLICATION:
                raise InputError(
                    f"`history` {self.path} is a database of another program",
                    hint="name another file",
                )
            if tables and version != SCHEMA_VERSION:
                raise InputError(
                    f"`history` {self.path} has schema {version}; this edgekit writes "
                    f"{SCHEMA_VERSION}",
                    hint="name another file",
                )
            self._connection.execute(f"PRAGMA application_id = {APPLICATION}")
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            self._connection.execute(_SCHEMA)
