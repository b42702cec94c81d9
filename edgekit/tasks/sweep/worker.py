"""The process of one job: reads a job from stdin and writes its outcome to stdout. Everything that
is printed goes to the log.

Stdin stays open while the sweep runs. If it closes, the sweep was killed, and this process kills
itself and its children.
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

# A limit for allocations between two checks of the sweep: twice the limit, plus unused stacks of
# threads.
WALL_FACTOR, WALL_MEGABYTES = 2, 4000
FIRST_TO_GO = "1000"


def main(function: str, limit: str) -> NoReturn:
    """Runs ``module:function`` on the job from stdin.

    Args:
        function: takes a :class:`Job` and returns an :class:`Outcome`.
        limit: of memory in MB, or ``none``.
    """
    outcomes = os.dup(1)
    os.dup2(2, 1)  # everything that a factory prints, also from C code, goes to the log
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
    os._exit(outcome.exit_code)  # some libraries hang or crash when Python ends


def _die_with_the_sweep() -> None:
    with suppress(OSError, ValueError):
        while os.read(0, 1):
            pass
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _offer_to_the_killer() -> None:
    """If Linux runs out of memory, it kills this process before the sweep."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write(FIRST_TO_GO)


def _wall(megabytes: float) -> None:
    import resource

    wall = int((WALL_FACTOR * megabytes + WALL_MEGABYTES) * 1e6)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or wall < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (wall, wall))
