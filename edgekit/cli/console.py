"""Output: results on stdout, everything else on stderr, readable without colours."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from edgekit.advice import Advice

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

__all__ = [
    "LiveProgress",
    "add_flags",
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

_WIDTH = None if sys.stdout is not None and sys.stdout.isatty() else 120


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would exit with 1, which means that a gate failed."""
        raise BrokenPipeError


# the options of the running command, by parameter: calib_images, --calib-images
_flags: dict[str, str] = {}
_OTHER_NAMES = {"calibration": "--calib"}  # parameters whose option has another name


def use_flags(flags: Collection[str]) -> None:
    """Sets the options of the command that runs now."""
    _flags.clear()
    add_flags(*flags)


def add_flags(*flags: str) -> None:
    """Adds options of another command, which the messages of this one name too."""
    _flags.update({flag.removeprefix("--").replace("-", "_"): flag for flag in flags})
    _flags.update({name: flag for name, flag in _OTHER_NAMES.items() if flag in flags})


def as_flags(text: str) -> str:
    """Replaces parameters in backticks by options: `images` becomes ``--images``. Anything else in
    backticks stays.
    """
    return re.sub(r"`([a-z_0-9]+)`", lambda match: _flags.get(match[1], match[0]), text)


out = _Console(highlight=False, emoji=False, width=_WIDTH, soft_wrap=True)
err = _Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def with_flags(advice: Iterable[Advice]) -> tuple[Advice, ...]:
    """Warnings, with options instead of parameters."""
    return tuple(Advice(as_flags(item.message), item.fix and as_flags(item.fix)) for item in advice)


def print_advice(advice: Iterable[Advice]) -> None:
    """Prints warnings to stderr, each with its hint."""
    for item in with_flags(advice):
        err.print(f"[yellow]![/] {escape(item.message + (f' – {item.fix}' if item.fix else ''))}")


def show_hint(hint: str | None) -> None:
    """How to go on, on stderr."""
    if hint:
        err.print(f"\n[cyan]hint[/]: {escape(as_flags(hint))}")


def print_json(value: Any) -> None:
    """Prints one json document to stdout, in ASCII, so that it works with every encoding."""
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


class LiveProgress:
    """Shows the steps on stderr: a progress bar on a terminal, elsewhere one line per step."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Bar | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        if self._quiet:
            yield
        elif err.is_terminal:
            with _bar() as self._bar:
                self._bar.add_task(name, total=None, what="")
                yield
            self._bar = None
        else:
            err.print(f"{name} …")
            yield

    def advance(self, done: int, total: int | None, what: str = "") -> None:
        if self._bar is not None:
            amount = "" if total else f"{done / 1e6:.1f} MB "
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=done, total=total, what=escape(amount + what))


def _bar() -> Bar:
    """A bar of one step, which leaves the terminal when the step ends."""
    from rich import progress

    return progress.Progress(
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description} …"),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[what]}"),
        console=err,
        transient=True,
    )
