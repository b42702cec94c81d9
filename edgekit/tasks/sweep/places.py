"""Where jobs run: what a sweep asks of this machine or of a cluster, and this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edgekit.bundle.staging import recover
from edgekit.errors import EnvironmentLacks, InputError
from edgekit.tasks.sweep.job import Job, Outcome
from edgekit.tasks.sweep.processes import JobProcess, Limits, resident_megabytes

MEMORY_LOOKS = 0.25  # seconds between two
NO_MEMORY_TOLD = "`memory_limit` needs Linux, which tells the memory of processes"


class Running(Protocol):
    """A job that was started; ``seconds`` is how long it ran, as known at the last look."""

    @property
    def seconds(self) -> float: ...

    def look(self) -> Outcome | None:
        """What came of the job, with its files in their places; None while it runs."""

    def end(self) -> None:
        """Ends the job and whatever it started; nothing can be asked of it afterwards."""


class Place(Protocol):
    """``workers`` is how many jobs should run there at once."""

    @property
    def workers(self) -> int: ...

    def start(self, job: Job, log: Path) -> Running:
        """Starts a job whose bundle, report and log will be where the job and ``log`` say."""


class Here:
    """Processes of this machine.

    Args:
        workers: jobs at once; one for two cores by default.
        limits: what one job may take.
        function: ``module:function`` of what does one job.
        threads: of the CPU's for each; by default they are shared evenly.
        folder: that jobs run in; the current one by default.

    Raises:
        InputError: ``workers`` is not positive.
        EnvironmentLacks: memory is to be limited, and the system does not tell that of processes.
    """

    def __init__(
        self,
        workers: int | None,
        limits: Limits,
        function: str,
        *,
        threads: int | None = None,
        folder: Path | None = None,
    ) -> None:
        cores = os.cpu_count() or 1
        self.workers = checked_workers(workers) or max(1, cores // 2)
        self._threads = threads or max(1, cores // self.workers)
        self._folder = folder
        self._limits = limits
        self._function = function
        self._looked = 0.0
        self._resident = resident_megabytes()
        if limits.megabytes is not None and not self._resident:
            raise EnvironmentLacks(NO_MEMORY_TOLD)

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *ended: object) -> None:
        """Nothing stays open."""

    def start(self, job: Job, log: Path) -> Running:
        process = JobProcess(
            job, log, self._limits, self._function, self._threads, folder=self._folder
        )
        return _Process(process, Path(job.out), self.resident)

    def resident(self, session: int) -> float | None:
        """MB of a session's processes, at most a quarter of a second old."""
        if time.perf_counter() - self._looked > MEMORY_LOOKS:
            self._looked, self._resident = time.perf_counter(), dict(resident_megabytes())
        return self._resident.get(session)


class _Process:
    def __init__(
        self, process: JobProcess, bundle: Path, resident: Callable[[int], float | None]
    ) -> None:
        self._process = process
        self._bundle = bundle
        self._resident = resident

    @property
    def seconds(self) -> float:
        return self._process.seconds

    def look(self) -> Outcome | None:
        outcome = self._process.look(self._resident(self._process.session))
        if outcome is not None:
            recover(self._bundle)  # what a killed job was about to write
        return outcome

    def end(self) -> None:
        self._process.end()
        recover(self._bundle)


def checked_workers(asked: int | None) -> int | None:
    """
    Raises:
        InputError: ``workers`` is not positive.
    """
    if asked is not None and asked < 1:
        raise InputError(f"`workers` {asked} is not positive", hint="1 runs one job at a time")
    return asked
