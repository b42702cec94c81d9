"""The table of a sweep: a row a network and precision, and what came of it."""

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
        network: as the user named it, or the zoo's name that a pattern matched.
        precision: of the export.
        name: what its bundle and its report are called.
        status: ``gate failed`` where a gate was not met, ``killed`` where the job was ended for its
            time or memory or by somebody else, ``failed`` where it ended itself in any other way.
        exit_code: as of ``edgekit export``; 128 and the signal where a signal ended the job, None
            before the end.
        message: why it did not pass; empty where it did.
        seconds: how long the job took; None before the end.
        peak_megabytes: the most memory that the job was seen to have, its children included.
        sqnr: dB, of the precision's graph against the network, or of the first graph that failed.
        agreement: the share of photos with the same first class, of the same graph.
        megabytes: the size of that graph.
        latency: median milliseconds of the precision's graph in ONNX Runtime on this CPU.
        ratio: how long it takes against the network itself, below 1 is faster.
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
    """Every cell of a sweep, in the order of the matrix, and the ``options`` that it was begun
    with; ``workers`` is how many jobs ran at once in the last call.
    """

    path: Path
    options: Mapping[str, Any]
    workers: int
    cells: tuple[Cell, ...]
    schema_version: int = SCHEMA_VERSION

    @property
    def counts(self) -> dict[Status, int]:
        """How many cells there are of each status."""
        statuses = [cell.status for cell in self.cells]
        return {status: statuses.count(status) for status in FINISHED}

    @property
    def exit_code(self) -> int:
        """0 where every cell passed; else 1 where a gate failed, 2 where an input was wrong, 3
        where a job was killed, crashed, or lacked something.
        """
        left = [cell for cell in self.cells if cell.status != "passed"]
        if not left:
            return 0
        if any(cell.status == "gate failed" for cell in left):
            return GATE
        wrong = any(cell.status == "failed" and cell.exit_code == INPUT for cell in left)
        return INPUT if wrong else REST

    def bundle(self, cell: Cell) -> Path | None:
        """The folder of a cell's bundle; None where it did not pass."""
        return self.path / "bundles" / cell.name if cell.status == "passed" else None

    def to_json(self) -> dict[str, Any]:
        """The whole table in json's types; keys are stable within a schema version."""
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
