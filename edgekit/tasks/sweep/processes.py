"""Runs jobs as processes: starts them, checks them, and kills them if they exceed a limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from edgekit.errors import InputError
from edgekit.tasks.sweep.job import LONGEST_MESSAGE, NO_MEMORY, Job, Outcome

# -c with the path of this process, so that nothing is imported from the user's current folder.
_SCRIPT = """
import sys
function, limit = sys.argv[1:3]
sys.path[:] = sys.argv[3:]
from edgekit.tasks.sweep.worker import main
main(function, limit)
"""
RUN_JOB = "edgekit.tasks.sweep.job:run_job"
PROC = Path("/proc")
# man 5 proc, /proc/pid/stat: the fields after the name, counted from the state (3).
_SESSION, _RESIDENT = 6 - 3, 24 - 3


@dataclass(frozen=True)
class Limits:
    """The limits of one job: ``seconds`` of wall time, and ``megabytes`` of resident memory with
    its child processes; None is no limit.

    Raises:
        InputError: a limit is not positive and finite.
    """

    seconds: float | None = None
    megabytes: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("time_limit", self.seconds), ("memory_limit", self.megabytes)):
            if value is not None and not 0 < value < inf:
                raise InputError(
                    f"invalid value for `{name}`: {value:g}, it must be positive",
                    hint=f"`{name}` 600",
                )


class JobProcess:
    """A running job. It has its own session, so that its child processes can be killed with it, and
    Ctrl-C in a terminal only reaches the sweep.

    Args:
        job: the job.
        log: the file for everything that the job prints.
        limits: when to kill it.
        function: the function to run, as ``module:function``.
        threads: the number of CPU threads for its libraries.
        folder: the folder that it runs in; the current one by default.
    """

    def __init__(
        self,
        job: Job,
        log: Path,
        limits: Limits,
        function: str,
        threads: int,
        folder: Path | None = None,
    ) -> None:
        self.started = time.time()
        self.peak = 0.0
        self._limits = limits
        self._log = log
        self._verdict: Outcome | None = None
        self._begun = time.perf_counter()
        limit = "none" if limits.megabytes is None else str(limits.megabytes)
        command = [sys.executable, "-W", "ignore", "-c", _SCRIPT, function, limit, *sys.path]
        # Not a pipe: a pipe must be read all the time, and a child of the job could keep it open.
        self._outcome = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=self._outcome,
                stderr=file,
                start_new_session=True,
                cwd=folder,
                env={"OMP_NUM_THREADS": str(threads), **os.environ},
            )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it ended already; the outcome says how
            self._process.stdin.write(job.to_text().encode() + b"\n")
            self._process.stdin.flush()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._begun

    @property
    def session(self) -> int:
        return self._process.pid

    def look(self, resident: float | None) -> Outcome | None:
        """The outcome of the job; None while it runs within its limits.

        Args:
            resident: the current MB of the job and its children, if known.
        """
        code = self._process.poll()
        if code is None:
            self.peak = max(self.peak, resident or 0.0)
            self._verdict = self._over(resident or 0.0)
            if self._verdict is None:
                return None
        self._kill()
        outcome = self._verdict or self._told(self._process.returncode)
        self._close()
        peak = max(self.peak, outcome.peak_megabytes or 0.0)
        return replace(outcome, peak_megabytes=peak or None)

    def end(self) -> None:
        """Kills the job and all its processes. The job cannot be used afterwards."""
        self._kill()
        self._close()

    def _kill(self) -> None:
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()

    def _close(self) -> None:
        self._outcome.close()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def _over(self, resident: float) -> Outcome | None:
        code = 128 + signal.SIGKILL
        limits = self._limits
        if limits.seconds is not None and self.seconds > limits.seconds:
            return Outcome("killed", code, f"killed for time: over {limits.seconds:g} s")
        if limits.megabytes is not None and resident > limits.megabytes:
            said = f"killed for memory: {resident:.0f} MB are over {limits.megabytes:g} MB"
            return Outcome("killed", code, said)
        return None

    def _told(self, code: int) -> Outcome:
        """The outcome that the job wrote, else one made from its exit status."""
        self._outcome.seek(0)
        text = self._outcome.read()
        with suppress(ValueError, TypeError):
            outcome = Outcome.from_text(text.decode())
            limit = self._limits.megabytes
            if limit is not None and outcome.message == NO_MEMORY:
                said = f"killed for memory: it asked for far more than {limit:g} MB"
                return replace(outcome, status="killed", message=said)
            return outcome
        if code >= 0:
            said = f"ended with {code} and no result{_last_line(self._log)}"
            return Outcome("failed", code, said)
        name = _name(-code)
        if -code == signal.SIGKILL:
            said = f"killed from outside by {name}, perhaps because memory ran out"
            return Outcome("killed", 128 - code, said)
        return Outcome("failed", 128 - code, f"crashed with {name}")


def resident_megabytes(proc: Path = PROC) -> Mapping[int, float]:
    """Resident MB of every session on this machine, by the process id of its leader; empty if
    unknown.
    """
    sums: dict[int, float] = {}
    page = os.sysconf("SC_PAGE_SIZE") / 1e6 if hasattr(os, "sysconf") else 0.0
    for stat in proc.glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # the process ended in the meantime
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            session = int(fields[_SESSION])
            sums[session] = sums.get(session, 0.0) + int(fields[_RESIDENT]) * page
    return sums


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="backslashreplace").strip().splitlines()
    return f": {lines[-1][:LONGEST_MESSAGE]}" if lines else ""
