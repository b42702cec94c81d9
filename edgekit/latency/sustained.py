"""Latency under a long load, in windows, with the clocks and temperatures of the machine."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np

from edgekit.latency.clock import Candidate, Clock, milliseconds
from edgekit.latency.statistics import Ratio, percentile, ratio_of_runs
from edgekit.machine.environment import Snapshot, snapshot

WINDOWS, SHORTEST = 60, 1.0  # seconds of a measurement
MIN_RUNS = 5
PARTS = 4
LEAST = 4 * PARTS  # with fewer windows in a part, no interval of the rank-sum test has 95 %


@dataclass(frozen=True)
class Window:
    """A part of the load. Values that the machine does not report are None.

    Args:
        start: seconds since the load began.
        runs: the number of inferences.
        median: milliseconds.
        p99: milliseconds.
        cpu_mhz: the median over the cores, at the end of the window.
        gpu_mhz: of the first GPU.
        temperature: of the hottest sensor, in °C.
        power: of the GPUs or the Jetson, in watts.
        throttled: the causes of lower clocks.
    """

    start: float
    runs: int
    median: float
    p99: float
    cpu_mhz: int | None
    gpu_mhz: int | None
    temperature: float | None
    power: float | None
    throttled: tuple[str, ...]


@dataclass(frozen=True)
class Sustained:
    """A candidate under load. ``change`` is the latency in the last quarter of the windows as a
    fraction of that in the first; ``unread`` has the names of the values that this machine does not
    report.
    """

    name: str
    seconds: float
    windows: tuple[Window, ...]
    change: Ratio
    unread: tuple[str, ...]

    @property
    def throttled(self) -> tuple[str, ...]:
        """All causes of lower clocks, of any window."""
        return tuple(dict.fromkeys(cause for w in self.windows for cause in w.throttled))


def sustain(
    name: str,
    run: Candidate,
    seconds: float,
    *,
    on_window: Callable[[int, int], None] = lambda done, total: None,
    clock: Clock = time.perf_counter_ns,
    look: Callable[[], Snapshot] = snapshot,
) -> Sustained:
    """Runs a candidate without a pause, except to read the state of the machine after each window.
    There is no warm-up, because the warming is part of the measurement. The windows last a second
    or more; below 16 seconds they are shorter.

    Args:
        name: of the candidate.
        run: the candidate.
        seconds: the duration.
        on_window: called with (done, total), in seconds.
        clock: in nanoseconds.
        look: reads the machine's state.

    Raises:
        ValueError: the duration is shorter than four seconds.
    """
    if seconds < PARTS * SHORTEST:
        raise ValueError(f"need {PARTS * SHORTEST:g} seconds or more, got {seconds:g}")
    length = seconds / min(WINDOWS, max(LEAST, seconds // SHORTEST))
    windows: list[Window] = []
    began, counted, before = clock(), 0, look()
    while (start := (clock() - began) / 1e9) < seconds or len(windows) < LEAST:
        taken = array("d")  # a window may have millions of runs
        while len(taken) < MIN_RUNS or (clock() - began) / 1e9 < start + length:
            taken.append(milliseconds(run, counted + len(taken), clock))
        counted += len(taken)
        now = look()
        windows.append(_window(start, taken, before, now))
        before = now
        on_window(round(min(start + length, seconds)), round(seconds))
    quarter = len(windows) // PARTS
    first, last = ([w.median for w in part] for part in (windows[:quarter], windows[-quarter:]))
    return Sustained(
        name,
        (clock() - began) / 1e9,
        tuple(windows),
        ratio_of_runs(last, first),
        tuple(_unread(windows, before)),
    )


def _window(start: float, taken: array[float], before: Snapshot, now: Snapshot) -> Window:
    gpus = [gpu.sm_mhz for gpu in now.gpus if gpu.sm_mhz is not None]
    if not gpus and now.jetson is not None and now.jetson.gpu_mhz is not None:
        gpus = [now.jetson.gpu_mhz]
    heat = [*now.temperatures.values(), *(g.temperature for g in now.gpus if g.temperature)]
    watts = [gpu.power_w for gpu in now.gpus if gpu.power_w is not None]
    if now.jetson is not None and now.jetson.power_w is not None:
        watts.append(now.jetson.power_w)
    return Window(
        start=start,
        runs=len(taken),
        median=float(np.median(taken)),
        p99=percentile(taken, 99),
        cpu_mhz=round(median(now.cpu_mhz)) if now.cpu_mhz else None,
        gpu_mhz=gpus[0] if gpus else None,
        temperature=max(heat) if heat else None,
        power=sum(watts) if watts else None,
        throttled=tuple(_throttled(before, now)),
    )


def _throttled(before: Snapshot, now: Snapshot) -> list[str]:
    causes = [f"GPU {i}: {cause}" for i, gpu in enumerate(now.gpus) for cause in gpu.throttled]
    counters = [("CPU: heat", before.cpu_throttles, now.cpu_throttles)]
    if before.jetson is not None and now.jetson is not None:
        events = (before.jetson.overcurrent_events, now.jetson.overcurrent_events)
        counters.append(("Jetson: over-current", *events))
    return causes + [cause for cause, then, count in counters if (count or 0) > (then or 0)]


def _unread(windows: list[Window], now: Snapshot) -> list[str]:
    told = {
        "CPU clocks": any(w.cpu_mhz is not None for w in windows),
        "GPU clocks": any(w.gpu_mhz is not None for w in windows),
        "temperature": any(w.temperature is not None for w in windows),
        "power": any(w.power is not None for w in windows),
        "throttling of the CPU": now.cpu_throttles is not None,
        "throttling of the GPU": bool(now.gpus)
        or (now.jetson is not None and now.jetson.overcurrent_events is not None),
    }
    return [name for name, known in told.items() if not known]
