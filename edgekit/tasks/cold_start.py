"""Measures the time from process start to the first result of a bundle, and its memory, in separate
processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from edgekit.bundle import Bundle
from edgekit.errors import EnvironmentLacks
from edgekit.machine.memory import peak_megabytes
from edgekit.machine.nvidia import process_megabytes, system_nvml
from edgekit.pipeline.latency import batches_of
from edgekit.reports.bench import Start
from edgekit.runtimes.base import SessionOptions
from edgekit.tasks.candidates import Subject, open_subject

TIMES = 3
PATIENCE = 600.0  # seconds
# With the path of this process, so that nothing is imported from the user's current folder.
_PROBE = """
import sys
sys.path[:] = sys.argv[1:]
from edgekit.tasks.cold_start import probe
probe()
"""


def cold_start(subject: Subject, batch: int, threads: int) -> Start:
    """The median of three processes. For the first, the files may not be in the system's cache.

    Raises:
        EnvironmentLacks: a process ended without a result.
    """
    found = [_in_a_process(subject, batch, threads) for _ in range(TIMES)]
    device = [once["device_megabytes"] for once in found if once["device_megabytes"] is not None]
    return Start(
        name=subject.name,
        seconds=median(once["seconds"] for once in found),
        each=tuple(once["seconds"] for once in found),
        load_seconds=median(once["load_seconds"] for once in found),
        first_ms=median(once["first_ms"] for once in found),
        peak_megabytes=median(once["peak_megabytes"] for once in found),
        device_megabytes=median(device) if device else None,
    )


def probe() -> None:
    """The work of the process: opens the bundle from stdin, runs once, and prints the times on
    stdout.
    """
    work = json.loads(sys.stdin.readline())
    answers = os.dup(1)
    os.dup2(2, 1)  # the output of libraries must not mix with the result
    subject = Subject(work["name"], Bundle.open(Path(work["bundle"])), work["runtime"])
    with ExitStack() as stack:
        images = subject.bundle.golden().inputs
        began = time.perf_counter()
        session = stack.enter_context(
            open_subject(subject, work["batch"], SessionOptions(work["threads"]))
        )
        feeds = batches_of(session, images, work["batch"])[0]
        loaded = time.perf_counter()
        session.run(feeds)
        answered = time.perf_counter()
        told = {
            "seconds": (time.monotonic_ns() - work["began"]) / 1e9,
            "load_seconds": loaded - began,
            "first_ms": (answered - loaded) * 1e3,
            "peak_megabytes": peak_megabytes(),
            "device_megabytes": process_megabytes(system_nvml(), os.getpid()),
        }
    os.write(answers, json.dumps(told).encode())


def _in_a_process(subject: Subject, batch: int, threads: int) -> dict[str, Any]:
    work = {
        "name": subject.name,
        "bundle": str(subject.bundle.path),
        "runtime": subject.runtime,
        "batch": batch,
        "threads": threads,
    }
    command: Sequence[str] = (sys.executable, "-c", _PROBE, *sys.path)
    # This clock is the same in all processes.
    text = json.dumps({**work, "began": time.monotonic_ns()}) + "\n"
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # what libraries print on stderr may be in any encoding
            timeout=PATIENCE,
            check=True,
        )
        return dict(json.loads(done.stdout))
    except subprocess.TimeoutExpired as error:
        raise EnvironmentLacks(f"{subject.name} did not start in {PATIENCE:g} seconds") from error
    except (subprocess.CalledProcessError, ValueError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise EnvironmentLacks(
            f"{subject.name} did not start in a separate process: {said[-1] if said else error}",
            hint="run the bench without `cold_start`",
        ) from error
