"""Measures latencies: warms up until the latency is steady, then measures the candidates in turns.

A candidate is a callable ``run(i)`` that does one synchronous inference on input ``i`` modulo its
number of inputs. It never measures its own time; only a :class:`DeviceRun` returns the time of the
device's clock (CUDA events). Candidates take turns in one process, so that a change of the clock
frequency or of the load affects all of them. The reference takes part twice. Its ratio to itself is
the noise floor: smaller differences mean nothing.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from edgekit.latency.statistics import Ratio, Summary, block_medians, ratio_of_turns, summarize

BLOCKS = 10
WARM_UP_MS = 200.0
WINDOW, LEAST_WINDOW = 50, 5  # runs
STEADY_WITHIN = 0.01

Run = Callable[[int], object]
Clock = Callable[[], int]


@dataclass(frozen=True)
class DeviceRun:
    """A candidate whose ``run`` returns the milliseconds measured by the device."""

    run: Callable[[int], float]


Candidate = Run | DeviceRun


@dataclass(frozen=True)
class WarmUp:
    """``settled`` is False if the latency was not steady at the time limit, or there were too few
    runs to decide.
    """

    runs: int
    seconds: float
    settled: bool


@dataclass(frozen=True)
class Timing:
    """The runs of one candidate in milliseconds, one tuple per turn, two turns per block."""

    warm_up: WarmUp
    turns: tuple[tuple[float, ...], ...]

    @property
    def samples(self) -> tuple[float, ...]:
        return tuple(sample for turn in self.turns for sample in turn)

    @property
    def medians(self) -> tuple[float, ...]:
        """The latency of each block: the geometric mean of the medians of its two turns."""
        found = block_medians(self.turns)
        return tuple(
            math.sqrt(there * back) for there, back in zip(found[::2], found[1::2], strict=True)
        )

    @property
    def summary(self) -> Summary:
        return summarize(self.samples)


@dataclass(frozen=True)
class Measurement:
    """The timings of all candidates. ``again`` is the second turn of the reference in each
    block.
    """

    reference: str
    timings: Mapping[str, Timing]
    again: Timing

    def ratio(self, name: str) -> Ratio:
        """The latency of a candidate as a fraction of the reference's latency.

        Raises:
            KeyError: if there is no such candidate.
        """
        return ratio_of_turns(self.timings[name].medians, self.timings[self.reference].medians)

    @property
    def noise_floor(self) -> Ratio:
        """The ratio of the reference to itself: the ratio without any real difference."""
        return ratio_of_turns(self.again.medians, self.timings[self.reference].medians)


def measure(
    candidates: Mapping[str, Candidate],
    *,
    reference: str,
    blocks: int = BLOCKS,
    seconds: float = 3.0,
    min_runs: int = 4,
    max_warm_up: float = 5.0,
    on_block: Callable[[int, int], None] = lambda done, total: None,
    clock: Clock = time.perf_counter_ns,
) -> Measurement:
    """Measures the candidates in turns.

    Args:
        candidates: the candidates by name.
        reference: the candidate that the others are compared with.
        blocks: the number of blocks; in each, a candidate has two turns.
        seconds: the measuring time of each candidate over all blocks. A slow one takes longer,
            because it has at least ``blocks · min_runs`` runs.
        min_runs: the least number of runs per block.
        max_warm_up: the longest warm-up of a candidate, in seconds.
        on_block: called with (done, total) after the warm-up and after each block.
        clock: a monotonic clock in nanoseconds.

    Raises:
        ValueError: if the reference is not a candidate, there are fewer than five blocks, or less
            than one run per turn.
    """
    if reference not in candidates:
        raise ValueError(
            f"the reference {reference!r} is not among the candidates {sorted(candidates)}"
        )
    if blocks < 5 or min_runs < 1:
        raise ValueError(f"need at least 5 blocks and 1 run per block, got {blocks} and {min_runs}")
    again = None  # the key of the reference's second turn
    turns: list[tuple[str | None, Candidate]] = [
        *candidates.items(),
        (again, candidates[reference]),
    ]
    samples: dict[str | None, list[tuple[float, ...]]] = {name: [] for name, _ in turns}
    with _no_collection():
        warm_ups = {name: warm_up(run, max_warm_up, clock) for name, run in candidates.items()}
        on_block(0, blocks)
        shuffle = random.Random(0).shuffle
        half = (seconds / blocks / 2, math.ceil(min_runs / 2))
        for block in range(blocks):
            # Forwards and backwards, so that a steady drift affects all candidates equally; random
            # order, so that effects on the next block do not always affect the same candidate.
            shuffle(turns)
            for turn, run in (*turns, *reversed(turns)):
                samples[turn].append(_turn(run, *half, clock))
            on_block(block + 1, blocks)
    timings = {name: Timing(warm_ups[name], tuple(samples[name])) for name in candidates}
    return Measurement(reference, timings, Timing(warm_ups[reference], tuple(samples[again])))


def warm_up(run: Candidate, max_seconds: float, clock: Clock = time.perf_counter_ns) -> WarmUp:
    """Runs for at least 200 ms, until the median of 50 runs is within 1 % of the median of the
    previous 50 runs, or ``max_seconds`` have passed. A network too slow for 100 runs in that time
    is judged by the halves of its runs.
    """
    began = clock()
    taken: list[float] = []
    while True:
        taken.append(milliseconds(run, len(taken), clock))
        elapsed = (clock() - began) / 1e6
        if elapsed >= WARM_UP_MS and len(taken) % WINDOW == 0 and _steady(taken):
            return WarmUp(len(taken), elapsed / 1e3, settled=True)
        if elapsed >= max_seconds * 1e3:
            window = min(WINDOW, len(taken) // 2)
            settled = window >= LEAST_WINDOW and _steady(taken, window)
            return WarmUp(len(taken), elapsed / 1e3, settled)


def _steady(taken: list[float], window: int = WINDOW) -> bool:
    if len(taken) < 2 * window:
        return False
    before, now = median(taken[-2 * window : -window]), median(taken[-window:])
    return abs(now - before) < STEADY_WITHIN * before


def _turn(run: Candidate, seconds: float, min_runs: int, clock: Clock) -> tuple[float, ...]:
    """The runs of one candidate in one turn. The first run is discarded, because the caches still
    hold the data of another candidate.
    """
    milliseconds(run, 0, clock)
    taken: list[float] = []
    began = clock()
    while len(taken) < min_runs or clock() - began < seconds * 1e9:
        taken.append(milliseconds(run, len(taken) + 1, clock))
    return tuple(taken)


def milliseconds(run: Candidate, i: int, clock: Clock = time.perf_counter_ns) -> float:
    """The time of one run, from the device's clock if the candidate has one."""
    if isinstance(run, DeviceRun):
        return run.run(i)
    began = clock()
    run(i)
    return (clock() - began) / 1e6


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collects garbage before the runs and disables collection during them."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
