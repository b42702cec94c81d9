"""The progress of long work. Only the command line shows it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from edgekit.errors import EdgekitError


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
        """Nothing to show."""


QUIET = Quiet()


class Steps:
    """Times each step. The error of a failed step names it and the steps before it."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.done: list[str] = []
        self.seconds = 0.0

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """``seconds`` is the duration of the step after it has ended."""
        started = time.perf_counter()
        try:
            with self.progress.step(name):
                yield
        except EdgekitError as error:
            error.trail = f"step {name} failed" + (
                f" after {', '.join(self.done)}" if self.done else ""
            )
            raise
        self.seconds = time.perf_counter() - started
        self.done.append(name)

    def fetched(self, done: int, total: int | None, source: str) -> None:
        self.progress.advance(done, total, f"from {source}")
