"""The places where jobs run: the interface for this machine and clusters, and this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edgekit.bundle.staging import recover
from edgekit.errors import EnvironmentLacks, InputError
from edgekit.machine.cores import usable_cores
from edgekit.tasks.sweep.job import Job, Outcome
from edgekit.tasks.sweep.processes import JobProcess, Limits, resident_megabytes

MEMORY_LOOKS = 0.25  # seconds between two
NO_MEMORY_TOLD = "`memory_limit` needs Linux, which reports the memory of processes"


class Running(Protocol):
    """A started job; ``seconds`` is its duration at the last look."""

    @property
    def seconds(self) -> float: ...

    def look(self) -> Outcome | None:
        """The outcome of the job, with its files in their places; None while it runs."""

    def end(self) -> None:
        """Kills the job and its child processes. The job cannot be used afterwards."""


class Place(Protocol):
    """A machine or a cluster; ``workers`` is its number of jobs at once."""

    @property
    def workers(self) -> int: ...

    def start(self, job: Job, log: Path) -> Running:
        """Starts a job. Its bundle and report are written to the paths in the job, its log to
        ``log``.
        """


class Here:
    """Runs jobs as processes of this machine.

    Args:
        workers: jobs at once; by default one per two cores that this process may use.
        limits: the limits of one job.
        function: the function that does one job, as ``module:function``.
        threads: CPU threads per job; by default the cores are divided evenly.
        folder: the working folder of the jobs; the current one by default.

    Raises:
        InputError: ``workers`` is not positive.
        EnvironmentLacks: memory is limited, but this system does not report the memory of
            processes.
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
        cores = usable_cores()
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
            recover(self._bundle)  # removes what a killed job was writing
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
