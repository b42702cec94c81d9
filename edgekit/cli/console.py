"""stdout is data, stderr is talk; both readable without colour."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape

from edgekit.advice import Advice

__all__ = [
    "LiveProgress",
    "as_flags",
    "err",
    "escape",
    "out",
    "print_advice",
    "print_json",
    "show_hint",
    "use_flags",
    "with_flags",
]

_WIDTH = None if sys.stdout.isatty() else 120


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would exit with 1, which says that a gate failed."""
        raise BrokenPipeError


_flags: dict[str, str] = {}  # of the verb that runs, by parameter: calib_images, --calib-images


def use_flags(flags: Collection[str]) -> None:
    """Says which options the verb has that runs now."""
    _flags.clear()
    _flags.update({flag.removeprefix("--").replace("-", "_"): flag for flag in flags})


def as_flags(text: str) -> str:
    """A message with its parameters in backticks called as the command line calls them: `calib` is
    ``--calib``. What is in backticks and no option of the verb that runs stays as it is.
    """
    return re.sub(r"`([a-z_0-9]+)`", lambda match: _flags.get(match[1], match[0]), text)


out = _Console(highlight=False, emoji=False, width=_WIDTH, soft_wrap=True)
err = _Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def with_flags(advice: Iterable[Advice]) -> tuple[Advice, ...]:
    """Warnings as the command line says them."""
    return tuple(Advice(as_flags(item.message), item.fix and as_flags(item.fix)) for item in advice)


def print_advice(advice: Iterable[Advice]) -> None:
    """Warnings on stderr, each with its fix."""
    for item in with_flags(advice):
        err.print(f"[yellow]![/] {escape(item.message + (f' – {item.fix}' if item.fix else ''))}")


def show_hint(hint: str | None) -> None:
    """How to go on, on stderr."""
    if hint:
        err.print(f"\n[cyan]hint[/]: {escape(as_flags(hint))}")


def print_json(value: Any) -> None:
    """One json document on stdout, in ASCII, so that no encoding of a pipe can break it."""
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


class LiveProgress:
    """Steps as they run, on stderr: a live line on a terminal, a plain line a step elsewhere."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._status: Any = None
        self._name = ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self._name = name
        if self._quiet:
            yield
        elif err.is_terminal:
            with err.status(f"{name} …") as self._status:
                yield
            self._status = None
        else:
            err.print(f"{name} …")
            yield

    def advance(self, done: int, total: int | None, what: str = "") -> None:
        if self._status is not None:
            share = f"{done / total:4.0%}" if total else f"{done / 1e6:.1f} MB"
            self._status.update(f"{self._name} … {share} {escape(what)}")
