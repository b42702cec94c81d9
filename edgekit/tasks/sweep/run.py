"""The order of a sweep: lock, table, and a limited number of jobs at once until all have ended."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

from edgekit.bundle.staging import recover
from edgekit.errors import EnvironmentLacks, InputError
from edgekit.tasks.sweep.cells import Cell, SweepReport
from edgekit.tasks.sweep.job import Job, Outcome, Settings
from edgekit.tasks.sweep.matrix import matrix
from edgekit.tasks.sweep.processes import RUN_JOB, JobProcess, Limits, resident_megabytes
from edgekit.tasks.sweep.state import State

TABLE, LOCK = "sweep.sqlite", "sweep.lock"
BUNDLES, REPORTS, LOGS = "bundles", "reports", "logs"
LOOKS, MEMORY_LOOKS = 0.05, 0.25  # seconds between two


class Watcher(Protocol):
    """Called with all cells when a sweep starts, and with each cell that changes."""

    def begin(self, cells: Sequence[Cell]) -> None: ...
    def changed(self, cell: Cell) -> None: ...


class Unwatched:
    """Shows nothing."""

    def begin(self, cells: Sequence[Cell]) -> None:
        """Nothing to show."""

    def changed(self, cell: Cell) -> None:
        """Nothing to show."""


@dataclass(frozen=True)
class SweepRequest:
    """The networks, precisions and options of a sweep.

    Args:
        networks: patterns of zoo names, and networks as for export.
        precisions: of ``fp32``, ``fp16`` and ``int8``.
        out: the folder of the sweep.
        settings: the options of all exports.
        workers: jobs at once; by default one per two cores.
        limits: the limits of one job.
        offline: whether to use only cached weights.
        retry_failed: whether to repeat the exports that did not pass.
        function: the function that does one job, as ``module:function``.
    """

    networks: tuple[str, ...]
    precisions: tuple[str, ...]
    out: Path
    settings: Settings = field(default_factory=Settings)
    workers: int | None = None
    limits: Limits = field(default_factory=Limits)
    offline: bool = False
    retry_failed: bool = False
    function: str = RUN_JOB


def sweep(request: SweepRequest, watcher: Watcher | None = None) -> SweepReport:
    """Runs all cells that have no result in the folder yet.

    Raises:
        InputError: a network, precision or option is wrong, or the folder cannot be used, has a
            running sweep, or one with other options.
        EnvironmentLacks: memory is limited, but this system does not report the memory of
            processes.
    """
    from filelock import FileLock, Timeout

    cells = matrix(request.networks, request.precisions)
    workers = _workers(request.workers)
    _check(request, cells)
    _make_folders(request.out)
    try:
        with FileLock(request.out / LOCK, timeout=0):
            return _locked(request, cells, workers, watcher or Unwatched())
    except Timeout as error:
        raise InputError(
            f"a sweep is already running in {request.out}",
            hint="wait for it, or choose another folder",
        ) from error


def _locked(
    request: SweepRequest, cells: Sequence[Cell], workers: int, watcher: Watcher
) -> SweepReport:
    options = {
        "networks": list(dict.fromkeys(cell.network for cell in cells)),
        "precisions": list(dict.fromkeys(cell.precision for cell in cells)),
        **asdict(request.settings),
    }
    with State(request.out / TABLE) as state:
        state.begin(options, cells)
        todo = [cell for cell in state.cells() if _due(cell, request.retry_failed)]
        waiting = [Cell(cell.network, cell.precision, cell.name) for cell in todo]
        for cell in waiting:
            state.save(cell)
        watcher.begin(state.cells())
        _Jobs(request, state, watcher, workers).run(waiting)
        return SweepReport(request.out, options, workers, state.cells())


def _due(cell: Cell, retry_failed: bool) -> bool:
    return not cell.finished or (retry_failed and cell.status != "passed")


class _Jobs:
    """The running jobs, and the queue of the others."""

    def __init__(self, request: SweepRequest, state: State, watcher: Watcher, workers: int) -> None:
        self._request = request
        self._state = state
        self._watcher = watcher
        self._workers = workers
        self._running: dict[str, tuple[Cell, JobProcess]] = {}

    def run(self, waiting: Sequence[Cell]) -> None:
        """Runs until all jobs have ended. An exception kills the running jobs."""
        queue = list(waiting)
        looked, resident = 0.0, resident_megabytes()
        try:
            while queue or self._running:
                while queue and len(self._running) < self._workers:
                    self._start(queue.pop(0))
                time.sleep(LOOKS)
                if time.perf_counter() - looked > MEMORY_LOOKS:
                    looked, resident = time.perf_counter(), resident_megabytes()
                for cell, process in list(self._running.values()):
                    outcome = process.look(resident.get(process.session))
                    if outcome is not None:
                        self._finish(cell, process, outcome)
        finally:
            for _, process in self._running.values():
                process.end()
            for cell in self._state.cells():
                if cell.status == "running":
                    self._clear(cell)
                    self._state.save(Cell(cell.network, cell.precision, cell.name))

    def _start(self, cell: Cell) -> None:
        out = self._request.out.absolute()
        job = Job(
            cell.network,
            cell.precision,
            str(out / BUNDLES / cell.name),
            str(out / REPORTS / f"{cell.name}.json"),
            self._request.settings,
            self._request.offline,
        )
        Path(job.report).unlink(missing_ok=True)
        running = replace(cell, status="running", started=time.time())
        self._note(running)
        threads = max(1, (os.cpu_count() or 1) // self._workers)
        log = out / LOGS / f"{cell.name}.log"
        process = JobProcess(job, log, self._request.limits, self._request.function, threads)
        self._running[cell.name] = (running, process)

    def _finish(self, cell: Cell, process: JobProcess, outcome: Outcome) -> None:
        del self._running[cell.name]
        self._clear(cell)
        ended = time.time()
        self._note(replace(cell, **asdict(outcome), seconds=process.seconds, ended=ended))

    def _clear(self, cell: Cell) -> None:
        """Removes the partial output of a killed job."""
        recover(self._request.out / BUNDLES / cell.name)

    def _note(self, cell: Cell) -> None:
        self._state.save(cell)
        self._watcher.changed(cell)


def _workers(asked: int | None) -> int:
    if asked is None:
        return max(1, (os.cpu_count() or 1) // 2)
    if asked < 1:
        raise InputError(f"`workers` {asked} is not positive", hint="1 runs one job at a time")
    return asked


def _check(request: SweepRequest, cells: Sequence[Cell]) -> None:
    if request.settings.rounding and not any(cell.precision == "int8" for cell in cells):
        raise InputError(
            "`rounding` is for INT8, but this sweep has no INT8 export",
            hint="add int8 to `precisions`, or remove `rounding`",
        )
    images = request.settings.images
    if images is not None and not Path(images).is_dir():
        raise InputError(f"{images} is not a folder")
    if request.limits.megabytes is not None and not resident_megabytes():
        raise EnvironmentLacks("`memory_limit` needs Linux")


def _make_folders(out: Path) -> None:
    try:
        for name in (BUNDLES, REPORTS, LOGS):
            (out / name).mkdir(parents=True, exist_ok=True)
        (out / LOCK).touch()
    except OSError as error:
        raise InputError(
            f"{out} cannot be written: {error.strerror or error}", hint="choose another folder"
        ) from error
