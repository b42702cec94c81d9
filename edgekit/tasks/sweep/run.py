"""The order of a sweep: lock, table, and a limited number of jobs at once until all have ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgekit.bundle.staging import check_outside
from edgekit.errors import InputError
from edgekit.pipeline.precision import Int8
from edgekit.tasks.sweep.cells import Cell, SweepReport
from edgekit.tasks.sweep.job import Job, Outcome, Settings, rooted
from edgekit.tasks.sweep.matrix import matrix
from edgekit.tasks.sweep.places import Here, Place, Running, checked_workers
from edgekit.tasks.sweep.processes import RUN_JOB, Limits
from edgekit.tasks.sweep.state import State

if TYPE_CHECKING:
    from edgekit.tasks.sweep.cluster import Cluster

TABLE, LOCK = "sweep.sqlite", "sweep.lock"
BUNDLES, REPORTS, LOGS, BLOBS = "bundles", "reports", "logs", "blobs"
LOOKS = 0.05  # seconds between two


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
        ray: the address of a Ray cluster for the jobs; by default they run on this machine.
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
    ray: str | None = None
    function: str = RUN_JOB


def sweep(request: SweepRequest, watcher: Watcher | None = None) -> SweepReport:
    """Runs all cells that have no result in the folder yet, or whose bundle is gone.

    Raises:
        InputError: a network, precision or option is wrong, or the folder cannot be used, has a
            running sweep, or one with other options.
        EnvironmentLacks: memory is limited, but this system does not report the memory of
            processes.
    """
    from filelock import FileLock, Timeout

    cells = matrix(request.networks, request.precisions)
    _check(request, cells)
    place = _place(request, cells)
    _make_folders(request.out)
    try:
        with FileLock(request.out / LOCK, timeout=0):
            return _locked(request, cells, place, watcher or Unwatched())
    except Timeout as error:
        raise InputError(
            f"a sweep is already running in {request.out}",
            hint="wait for it, or choose another folder",
        ) from error


def _locked(
    request: SweepRequest, cells: Sequence[Cell], place: Here | Cluster, watcher: Watcher
) -> SweepReport:
    options = {
        "networks": list(dict.fromkeys(cell.network for cell in cells)),
        "precisions": list(dict.fromkeys(cell.precision for cell in cells)),
        **asdict(request.settings),
    }
    with State(request.out / TABLE) as state:
        state.begin(options, cells)
        todo = [cell for cell in state.cells() if _due(request, cell)]
        waiting = [Cell(cell.network, cell.precision, cell.name) for cell in todo]
        if not waiting:
            watcher.begin(state.cells())
            return SweepReport(request.out, options, place.workers, state.cells())
        with place as opened:
            for cell in waiting:
                state.save(cell)
            watcher.begin(state.cells())
            _Jobs(request, state, watcher, opened).run(waiting)
            return SweepReport(request.out, options, opened.workers, state.cells())


def _place(request: SweepRequest, cells: Sequence[Cell]) -> Here | Cluster:
    if request.ray is None:
        return Here(request.workers, request.limits, request.function)
    from edgekit.tasks.sweep.cluster import Cluster

    return Cluster(
        request.ray,
        request.workers,
        request.limits,
        request.function,
        bundles=request.out / BUNDLES,
        blobs=request.out / BLOBS,
        files={path for cell in cells for path in rooted(_job(request, cell))[1]},
    )


def _job(request: SweepRequest, cell: Cell) -> Job:
    out = request.out.absolute()
    return Job(
        cell.network,
        cell.precision,
        str(out / BUNDLES / cell.name),
        str(out / REPORTS / f"{cell.name}.json"),
        request.settings,
        request.offline,
    )


def _due(request: SweepRequest, cell: Cell) -> bool:
    if cell.status == "passed":  # its bundle may have been moved or deleted since
        return not (request.out / BUNDLES / cell.name).is_dir()
    return not cell.finished or request.retry_failed


class _Jobs:
    """The running jobs, and the queue of the others."""

    def __init__(self, request: SweepRequest, state: State, watcher: Watcher, place: Place) -> None:
        self._request = request
        self._state = state
        self._watcher = watcher
        self._place = place
        self._running: dict[str, tuple[Cell, Running]] = {}

    def run(self, waiting: Sequence[Cell]) -> None:
        """Runs until all jobs have ended. An exception kills the running jobs."""
        queue = list(waiting)
        try:
            while queue or self._running:
                while queue and len(self._running) < self._place.workers:
                    self._start(queue.pop(0))
                time.sleep(LOOKS)
                for cell, running in list(self._running.values()):
                    outcome = running.look()
                    if outcome is not None:
                        self._finish(cell, running, outcome)
        finally:
            for _, running in self._running.values():
                running.end()
            for cell in self._state.cells():
                if cell.status == "running":
                    self._state.save(Cell(cell.network, cell.precision, cell.name))

    def _start(self, cell: Cell) -> None:
        job = _job(self._request, cell)
        Path(job.report).unlink(missing_ok=True)
        begun = replace(cell, status="running", started=time.time())
        self._note(begun)
        running = self._place.start(job, self._request.out / LOGS / f"{cell.name}.log")
        self._running[cell.name] = (begun, running)

    def _finish(self, cell: Cell, running: Running, outcome: Outcome) -> None:
        del self._running[cell.name]
        ended = time.time()
        self._note(replace(cell, **asdict(outcome), seconds=running.seconds, ended=ended))

    def _note(self, cell: Cell) -> None:
        self._state.save(cell)
        self._watcher.changed(cell)


def _check(request: SweepRequest, cells: Sequence[Cell]) -> None:
    rounding = request.settings.rounding
    if rounding is not None:
        Int8(rounding=rounding)  # checks it
    if rounding is not None and not any(cell.precision == "int8" for cell in cells):
        raise InputError(
            "`rounding` is for INT8, but this sweep has no INT8 export",
            hint="add int8 to `precisions`, or remove `rounding`",
        )
    _check_input(request, cells)
    images = request.settings.images
    if images is not None and not Path(images).is_dir():
        raise InputError(f"{images} is not a folder", hint="give a folder of photos")
    checked_workers(request.workers)
    _check_out(request.out)


def _check_input(request: SweepRequest, cells: Sequence[Cell]) -> None:
    """
    Raises:
        InputError: 8-bit pixels are asked for, but the normalization of a network is unknown.
    """
    from edgekit.sources import is_own

    own = [cell.network for cell in cells if is_own(cell.network)]
    if request.settings.uint8 is not None and own:
        raise InputError(
            f"the preprocessing of {own[0]} is unknown, so a sweep cannot put it into the graph",
            hint="remove `input`, or export this network alone with its mean and std",
        )


def _check_out(out: Path) -> None:
    """
    Raises:
        InputError: the folder has files of others, or is inside a bundle.
    """
    check_outside("out", out)
    written = any((out / name).exists() for name in (TABLE, LOCK))
    if out.is_dir() and not written and any(out.iterdir()):
        raise InputError(f"{out} exists and is not a sweep", hint="choose another `out`")


def _make_folders(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / LOCK).touch()  # first, because it marks the folder as a sweep
        for name in (BUNDLES, REPORTS, LOGS):
            (out / name).mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{out} cannot be written: {error.strerror or error}", hint="choose another folder"
        ) from error
