"""How the pipeline reports its progress. Only the command line shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """``step`` surrounds one step of the work. ``advance`` reports done of total within it; total
    is None if unknown.
    """

    def step(self, name: str) -> AbstractContextManager[None]: ...
    def advance(self, done: int, total: int | None, what: str = "") -> None: ...


class Quiet:
    """Shows nothing."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        yield

    def advance(self, done: int, total: int | None, what: str = "") -> None:
        """Does nothing."""
