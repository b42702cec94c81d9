"""Common code of the benchmarks: runs processes in turns, and writes results with a description of
the machine.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.latency.statistics import Ratio, ratio_of_turns
from edgekit.machine.environment import describe
from edgekit.reports.plain import plain

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Cost:
    """The cost of one process: wall seconds, CPU seconds, peak resident MB."""

    wall: float
    cpu: float
    peak_megabytes: float


def run_process(command: Sequence[str]) -> Cost:
    """Runs a command and discards its output.

    Raises:
        RuntimeError: it failed; the message has the last lines of its stderr.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    # Another process starts the command, so that the peak memory is only that of the command.
    probe = (
        "import json,resource,subprocess,sys\n"
        "r = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, "
        "text=True)\n"
        "sys.stderr.write(r.stderr[-2000:])\n"
        "print(json.dumps(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))\n"
        "sys.exit(r.returncode)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", probe, *command], capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, json.loads(done.stdout) * 1024 / 1e6)


def compare_processes(ours: Sequence[str], theirs: Sequence[str], runs: int) -> dict[str, Any]:
    """Runs both commands in turns, after one run each that is not counted. Gives the ratios ours /
    theirs, run by run.
    """
    run_process(ours), run_process(theirs)
    pairs = [(run_process(ours), run_process(theirs)) for _ in range(runs)]
    ratios: dict[str, Ratio] = {
        key: ratio_of_turns(
            [getattr(a, key) for a, _ in pairs], [getattr(b, key) for _, b in pairs]
        )
        for key in ("wall", "cpu", "peak_megabytes")
    }
    return {
        "ours": [plain(a) for a, _ in pairs],
        "theirs": [plain(b) for _, b in pairs],
        "ratio": plain(ratios),
    }


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Writes ``results/NAME.json`` with the environment."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(
        json.dumps({**plain(result), "environment": plain(describe())}, indent=1) + "\n",
        encoding="utf-8",
    )
    return path
