"""The results of the GPU benchmark: one row per network, batch and GPU architecture; one json per
machine and library.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bars import Bar, evaluate
from entries import Entry, Row
from pydantic import Field, ValidationError

from edgekit.errors import InputError

DIED = "the process ended in the middle of this row, without a word"


class Machine(Entry):
    """The machine of all rows of a file. ``cuda`` is the newest version that the driver supports;
    ``gpu`` is None if engines were only built.
    """

    runtime: str
    version: str
    gpu: str | None
    cuda: str | None


class Results(Entry):
    """``torch`` is the description of PyTorch's process, ``torch_missing`` the reason if there is
    none. ``under_way`` is the row that is being measured.
    """

    machine: Machine
    settings: dict[str, Any]
    torch: dict[str, Any] | None = None
    torch_missing: str | None = None
    bars: tuple[Bar, ...] = ()
    rows: tuple[Row, ...] = ()
    under_way: Row | None = None
    environment: dict[str, Any] = Field(default_factory=dict)

    def has(self, row: Row) -> bool:
        return any(found.key == row.key for found in self.rows)

    def with_row(self, row: Row) -> Results:
        """A copy with a new row, which replaces the row with the same key, and with updated goals."""
        others = [found for found in self.rows if found.key != row.key]
        rows = tuple(sorted((*others, row), key=lambda found: found.key))
        return self.model_copy(
            update={"rows": rows, "bars": tuple(evaluate(rows)), "under_way": None}
        )


def open_results(path: Path, fresh: Results) -> Results:
    """The existing rows, with the description of this run from ``fresh``. A row in which the
    process died is recorded as failed.

    Raises:
        InputError: the file cannot be read, or is from another machine or library.
    """
    if not path.exists():
        return fresh
    found = read_results(path)
    if found.machine != fresh.machine:
        raise InputError(
            f"{path} holds rows of {found.machine}; here is {fresh.machine}",
            hint="--out names another file",
        )
    torch = {
        "torch": fresh.torch or found.torch,
        "torch_missing": None if fresh.torch or found.torch else fresh.torch_missing,
    }
    results = found.model_copy(
        update={"settings": fresh.settings, "environment": fresh.environment, **torch}
    )
    return (
        results
        if found.under_way is None
        else results.with_row(found.under_way.model_copy(update={"error": DIED}))
    )


def read_results(path: Path) -> Results:
    """
    Raises:
        InputError: it cannot be read.
    """
    try:
        return Results.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", hint="--out names another file"
        ) from error


def write_results(path: Path, results: Results) -> None:
    """Writes the file completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
