"""A SQLite file: how it is opened, and what its errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from types import TracebackType
from typing import ClassVar, TypeVar

from edgekit.errors import EnvironmentLacks, InputError

_File = TypeVar("_File", bound="SqliteFile")


class SqliteFile:
    """A file with one connection. Every statement is its own transaction, unless it is in
    :meth:`_transaction`, and is on the disk when it ends. As a context manager it closes the file.

    Args:
        path: the file; created if it is missing.

    Raises:
        InputError: it is another file.
        EnvironmentLacks: it cannot be used; every method may raise this.
    """

    label: ClassVar[str] = ""  # before the path, in messages
    kind: ClassVar[str]  # what the file should be
    other: ClassVar[str]  # the hint for another file
    usable: ClassVar[str]  # the hint for a file that cannot be used
    wait: ClassVar[float] = 5.0  # seconds to wait for another process that writes

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._explained():
            self._connection = sqlite3.connect(path, timeout=self.wait, isolation_level=None)
            try:
                self._connection.execute("PRAGMA synchronous=FULL")
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self: _File) -> _File:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def _prepare(self) -> None:
        """Checks an existing file, and creates the tables of a new one."""
        raise NotImplementedError

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise EnvironmentLacks(
                f"{self.label}{self.path} cannot be used: {shorten(str(error), 200)}",
                hint=self.usable,
            ) from error
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{self.label}{self.path} is not {self.kind}: {error}", hint=self.other
            ) from error
