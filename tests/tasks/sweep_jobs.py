"""Jobs that end in a moment, for tests of what surrounds them; as a script, a sweep of such jobs that
tells on stdout what it does, to be killed from outside.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edgekit.tasks.sweep import Cell, Job, Outcome, SweepRequest, sweep

NETWORKS = ("resnet18", "resnet34", "vgg1[13]")


def quick(job: Job) -> Outcome:
    """A gate failed in INT8, a crash of one network, the others pass with figures of their own."""
    time.sleep(0.05)
    if job.network == "resnet34":
        os.abort()
    if job.precision == "int8":
        return Outcome("gate failed", 1, "int8: SQNR 3.0 dB is under 40 dB", 90.0, sqnr=3.0)
    Path(job.out).mkdir(parents=True, exist_ok=True)
    (Path(job.out) / "model.onnx").touch()
    figure = float(sum(job.network.encode()))
    return Outcome("passed", 0, "", 100.0, figure, 1.0, figure / 10, 2.5, 0.5)


def wrong(job: Job) -> Outcome:
    return Outcome("failed", 2, "the input is wrong")


def second_time_lucky(job: Job) -> Outcome:
    seen = Path(job.report).with_suffix(".seen")
    if not seen.exists():
        seen.touch()
        return Outcome("failed", 3, "nothing answers")
    Path(job.out).mkdir(parents=True)
    return Outcome("passed", 0)


def sleeps(job: Job) -> Outcome:
    Path(job.report).with_suffix(".pid").write_text(str(os.getpid()))
    while True:
        time.sleep(1)


def ends_silently(job: Job) -> Outcome:
    print("farewell")
    sys.stdout.flush()
    os._exit(0)


def killed(job: Job) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def loses_its_parent(job: Job) -> Outcome:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
    raise AssertionError


def writes(job: Job) -> Outcome:
    """A bundle of three files, one of which is the same for all, and a report."""
    out = Path(job.out)
    out.mkdir(parents=True)
    contents = {"model.onnx": job.network.encode() * 9, "labels.txt": b"cat\n", "empty": b""}
    for name, content in contents.items():
        (out / name).write_bytes(content)
    manifest = {"edgekit": "0", "files": dict.fromkeys(contents)}
    (out / "manifest.json").write_text(json.dumps(manifest))
    Path(job.report).write_text(job.precision)
    print(f"{job.network} is written")
    return Outcome("passed", 0, "", 100.0)


def eats(job: Job) -> Outcome:
    hoard = []
    while True:
        hoard.append(b"x" * 10_000_000)
        time.sleep(0.01)


class Telling:
    def begin(self, cells: Sequence[Cell]) -> None:
        print(f"begin {sum(cell.finished for cell in cells)}", flush=True)

    def changed(self, cell: Cell) -> None:
        print(f"{cell.status} {cell.name}", flush=True)


if __name__ == "__main__":
    out, function, *cluster = sys.argv[1:]
    request = SweepRequest(
        *(NETWORKS, ("fp32", "int8"), Path(out)),
        workers=2,
        ray=cluster[0] if cluster else None,
        function=f"sweep_jobs:{function}",
    )
    sweep(request, Telling())
