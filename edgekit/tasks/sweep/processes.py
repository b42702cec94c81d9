"""Jobs as processes: started, looked at, and ended for their time or memory."""

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
from pathlib import Path

from edgekit.errors import InputError
from edgekit.tasks.sweep.job import LONGEST_MESSAGE, NO_MEMORY, Job, Outcome

# -c with the path of this process, so that the folder that the user is in is not looked into.
_SCRIPT = """
import sys
function, limit = sys.argv[1:3]
sys.path[:] = sys.argv[3:]
from edgekit.tasks.sweep.worker import main
main(function, limit)
"""
RUN_JOB = "edgekit.tasks.sweep.job:run_job"
PROC = Path("/proc")
# man 5 proc, /proc/pid/stat: fields behind the name, counted from the state (3).
_SESSION, _RESIDENT = 6 - 3, 24 - 3


@dataclass(frozen=True)
class Limits:
    """What one job may take: ``seconds`` by the clock, and ``megabytes`` of resident memory
    with its children; None is no limit.

    Raises:
        InputError: one is not positive.
    """

    seconds: float | None = None
    megabytes: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("time_limit", self.seconds), ("memory_limit", self.megabytes)):
            if value is not None and not value > 0:
                raise InputError(f"`{name}` {value:g} is not positive")


class JobProcess:
    """A job that runs; it leads a session of its own, so that its children end with it, and a
    terminal's Ctrl-C reaches the sweep alone.

    Args:
        job: what to do.
        log: where everything goes that the job prints.
        limits: when to end it.
        function: ``module:function`` of what does it.
        threads: how many of the CPU's its libraries should use.
        folder: that it runs in; the current one by default.
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
        # Not a pipe: nobody has to read it meanwhile, and no child of the job holds it open.
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
        with suppress(BrokenPipeError):  # it died already, and is told as that
            self._process.stdin.write(job.to_text().encode() + b"\n")
            self._process.stdin.flush()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._begun

    @property
    def session(self) -> int:
        return self._process.pid

    def look(self, resident: float | None) -> Outcome | None:
        """What came of the job; None while it runs within its limits.

        Args:
            resident: MB that it and its children have now, where that is known.
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
        """Ends the job and whatever it started; nothing can be asked of it afterwards."""
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
        """The outcome that the job wrote, or what its end says where it wrote none."""
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
            said = f"ended with {code} and no outcome{_last_line(self._log)}"
            return Outcome("failed", code, said)
        name = _name(-code)
        if -code == signal.SIGKILL:
            said = f"killed from outside by {name}, perhaps for lack of memory"
            return Outcome("killed", 128 - code, said)
        return Outcome("failed", 128 - code, f"crashed with {name}")


def resident_megabytes(proc: Path = PROC) -> Mapping[int, float]:
    """Resident MB of every session on this machine, by its leader's process id; empty where the
    system does not tell.
    """
    sums: dict[int, float] = {}
    page = os.sysconf("SC_PAGE_SIZE") / 1e6 if hasattr(os, "sysconf") else 0.0
    for stat in proc.glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # it ended meanwhile
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
