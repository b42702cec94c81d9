"""The table of a sweep: one row per network and precision, with its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekit.artifact import PrecisionName

SCHEMA_VERSION = 1
Status = Literal["waiting", "running", "passed", "gate failed", "failed", "killed"]
FINISHED: tuple[Status, ...] = ("passed", "gate failed", "failed", "killed")
GATE, INPUT, REST = 1, 2, 3


@dataclass(frozen=True)
class Cell:
    """One export of a sweep.

    Args:
        network: the name from the user, or the name in the zoo that a pattern matched.
        precision: the precision of the export.
        name: the name of its bundle and its report.
        status: ``gate failed`` if a gate was not met, ``killed`` if the job exceeded its time or
            memory or was killed from outside, ``failed`` for any other error.
        exit_code: that of ``edgekit export``; 128 plus the signal if a signal ended the job, None
            before the end.
        message: why it did not pass; empty if it passed.
        seconds: how long the job took; None before the end.
        peak_megabytes: the largest measured memory of the job and its child processes.
        sqnr: in dB, of the final graph against the network, or of the first graph that failed.
        agreement: the share of photos with the same first class, of the same graph.
        megabytes: the size of that graph.
        latency: median milliseconds of the final graph in ONNX Runtime on this CPU.
        ratio: latency as a multiple of that of the network in PyTorch; below 1 is faster.
        started: seconds since the epoch.
        ended: the same.
    """

    network: str
    precision: PrecisionName
    name: str
    status: Status = "waiting"
    exit_code: int | None = None
    message: str = ""
    seconds: float | None = None
    peak_megabytes: float | None = None
    sqnr: float | None = None
    agreement: float | None = None
    megabytes: float | None = None
    latency: float | None = None
    ratio: float | None = None
    started: float | None = None
    ended: float | None = None

    @property
    def finished(self) -> bool:
        return self.status in FINISHED


@dataclass(frozen=True)
class SweepReport:
    """All cells of a sweep in order, and the ``options`` that it was started with. ``workers`` is
    the number of jobs at once in the last call.
    """

    path: Path
    options: Mapping[str, Any]
    workers: int
    cells: tuple[Cell, ...]
    schema_version: int = SCHEMA_VERSION

    @property
    def counts(self) -> dict[Status, int]:
        """The number of cells with each status."""
        statuses = [cell.status for cell in self.cells]
        return {status: statuses.count(status) for status in FINISHED}

    @property
    def exit_code(self) -> int:
        """0 if every cell passed; else 1 if a gate failed, 2 if an input was wrong, 3 if a job was
        killed, crashed, or lacked something.
        """
        left = [cell for cell in self.cells if cell.status != "passed"]
        if not left:
            return 0
        if any(cell.status == "gate failed" for cell in left):
            return GATE
        wrong = any(cell.status == "failed" and cell.exit_code == INPUT for cell in left)
        return INPUT if wrong else REST

    def bundle(self, cell: Cell) -> Path | None:
        """The folder of a cell's bundle; None if it did not pass."""
        return self.path / "bundles" / cell.name if cell.status == "passed" else None

    def to_json(self) -> dict[str, Any]:
        """The whole table as json types; keys are stable within a schema version."""
        from edgekit.reports.plain import plain

        cells = [{**plain(cell), "bundle": plain(self.bundle(cell))} for cell in self.cells]
        return {
            "schema_version": self.schema_version,
            "path": str(self.path),
            "options": plain(self.options),
            "workers": self.workers,
            "counts": dict(self.counts),
            "exit_code": self.exit_code,
            "cells": cells,
        }
