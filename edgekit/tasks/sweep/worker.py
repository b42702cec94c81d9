"""The process of one job: a job on stdin, its outcome on stdout, all that anybody prints into the
log.

Stdin stays open as long as the sweep lives. When it ends, the sweep was killed, and so is this
process with all that it started.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, cast

from edgekit.tasks.sweep.job import Job, Outcome

# Beyond what the sweep sees between two looks: twice the limit, and what stacks of threads take
# that nobody touches.
WALL_FACTOR, WALL_MEGABYTES = 2, 4000
FIRST_TO_GO = "1000"


def main(function: str, limit: str) -> NoReturn:
    """Runs ``module:function`` on the job of stdin.

    Args:
        function: takes a :class:`Job` and returns an :class:`Outcome`.
        limit: of memory in MB, or ``none``.
    """
    outcomes = os.dup(1)
    os.dup2(2, 1)  # what a factory prints, C code included, is talk
    faulthandler.enable()
    job = Job.from_text(sys.stdin.readline())
    threading.Thread(target=_die_with_the_sweep, daemon=True).start()
    _offer_to_the_killer()
    if limit != "none":
        _wall(float(limit))
    module, _, name = function.partition(":")
    run = cast("Callable[[Job], Outcome]", getattr(importlib.import_module(module), name))
    outcome = run(job)
    os.write(outcomes, outcome.to_text().encode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(outcome.exit_code)  # libraries of others hang or crash at the end of Python at times


def _die_with_the_sweep() -> None:
    with suppress(OSError, ValueError):
        while os.read(0, 1):
            pass
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _offer_to_the_killer() -> None:
    """Where Linux runs out of memory, it takes this process before the sweep."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write(FIRST_TO_GO)


def _wall(megabytes: float) -> None:
    import resource

    wall = int((WALL_FACTOR * megabytes + WALL_MEGABYTES) * 1e6)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or wall < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (wall, wall))
