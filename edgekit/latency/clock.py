"""The clock: warm up until the latency is steady, then measure the candidates in turns.

A candidate is a callable ``run(i)`` that does one inference, synchronously, on input ``i`` modulo
the number of inputs it holds. It never times itself; only a :class:`DeviceRun` returns what a
device's own clock (CUDA events) says it took. Candidates take turns in one process, so that a
change of the processor's clock or of the machine's load meets all of them; the reference takes two
turns a block, and its ratio to itself is the noise floor: a difference smaller than that is no
difference.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from edgekit.latency.statistics import Ratio, Summary, ratio_by_block, summarize

WARM_UP_MS = 200.0
WINDOW = 50
STEADY_WITHIN = 0.01

Run = Callable[[int], object]
Clock = Callable[[], int]


@dataclass(frozen=True)
class DeviceRun:
    """A candidate whose ``run`` returns the milliseconds that the device says it took."""

    run: Callable[[int], float]


Candidate = Run | DeviceRun


@dataclass(frozen=True)
class WarmUp:
    """``settled`` is False where the latency still moved, or too few runs fitted to tell, when the
    time was up.
    """

    runs: int
    seconds: float
    settled: bool


@dataclass(frozen=True)
class Timing:
    """The runs of one candidate, in milliseconds, one tuple a block."""

    warm_up: WarmUp
    blocks: tuple[tuple[float, ...], ...]

    @property
    def samples(self) -> tuple[float, ...]:
        return tuple(sample for block in self.blocks for sample in block)

    @property
    def summary(self) -> Summary:
        return summarize(self.samples)


@dataclass(frozen=True)
class Measurement:
    """What the candidates took; ``again`` is the second turn of the reference in every block."""

    reference: str
    timings: Mapping[str, Timing]
    again: Timing

    def ratio(self, name: str) -> Ratio:
        """Latency of a candidate as a fraction of the reference's.

        Raises:
            KeyError: if there is no such candidate.
        """
        return ratio_by_block(self.timings[name].blocks, self.timings[self.reference].blocks)

    @property
    def noise_floor(self) -> Ratio:
        """The reference against itself: what a ratio looks like where there is no difference."""
        return ratio_by_block(self.again.blocks, self.timings[self.reference].blocks)


def measure(
    candidates: Mapping[str, Candidate],
    *,
    reference: str,
    blocks: int = 5,
    seconds: float = 3.0,
    min_runs: int = 3,
    max_warm_up: float = 5.0,
    on_block: Callable[[int, int], None] = lambda done, total: None,
    clock: Clock = time.perf_counter_ns,
) -> Measurement:
    """Measure the candidates in turns.

    Args:
        candidates: by name, what to run.
        reference: the candidate that the others are compared with.
        blocks: how often the turn comes round.
        seconds: how long each candidate is measured, over all blocks. A slow one takes longer:
            ``blocks · min_runs`` runs at least.
        min_runs: runs a turn at least.
        max_warm_up: seconds a candidate may take to settle.
        on_block: called with (done, of) after the warm-up and after every block.
        clock: nanoseconds, monotonic.

    Raises:
        ValueError: if the reference is no candidate, or there are fewer than five blocks or less
            than one run a turn.
    """
    if reference not in candidates:
        raise ValueError(
            f"the reference {reference!r} is not among the candidates {sorted(candidates)}"
        )
    if blocks < 5 or min_runs < 1:
        raise ValueError(f"need at least 5 blocks and 1 run a block, got {blocks} and {min_runs}")
    again = None  # the reference's second turn has no name of its own
    turns: list[tuple[str | None, Candidate]] = [
        *candidates.items(),
        (again, candidates[reference]),
    ]
    samples: dict[str | None, list[tuple[float, ...]]] = {name: [] for name, _ in turns}
    with _no_collection():
        warm_ups = {name: warm_up(run, max_warm_up, clock) for name, run in candidates.items()}
        on_block(0, blocks)
        for block in range(blocks):
            # Every other block runs backwards, so that a steady drift favours nobody.
            for turn, run in turns if block % 2 == 0 else reversed(turns):
                samples[turn].append(_turn(run, seconds / blocks, min_runs, clock))
            on_block(block + 1, blocks)
    timings = {name: Timing(warm_ups[name], tuple(samples[name])) for name in candidates}
    return Measurement(reference, timings, Timing(warm_ups[reference], tuple(samples[again])))


def warm_up(run: Candidate, max_seconds: float, clock: Clock = time.perf_counter_ns) -> WarmUp:
    """Run for 200 ms at least, until the median of 50 runs is within 1 % of that of the 50 before,
    or ``max_seconds`` are over.
    """
    began = clock()
    taken: list[float] = []
    while True:
        taken.append(_milliseconds(run, len(taken), clock))
        elapsed = (clock() - began) / 1e6
        if elapsed >= WARM_UP_MS and len(taken) % WINDOW == 0 and _steady(taken):
            return WarmUp(len(taken), elapsed / 1e3, settled=True)
        if elapsed >= max_seconds * 1e3:
            return WarmUp(len(taken), elapsed / 1e3, settled=False)


def _steady(taken: list[float]) -> bool:
    if len(taken) < 2 * WINDOW:
        return False
    before, now = median(taken[-2 * WINDOW : -WINDOW]), median(taken[-WINDOW:])
    return abs(now - before) < STEADY_WITHIN * before


def _turn(run: Candidate, seconds: float, min_runs: int, clock: Clock) -> tuple[float, ...]:
    """One candidate's runs of one block. The first run, which finds the caches full of another's
    data, is not kept.
    """
    _milliseconds(run, 0, clock)
    taken: list[float] = []
    began = clock()
    while len(taken) < min_runs or clock() - began < seconds * 1e9:
        taken.append(_milliseconds(run, len(taken) + 1, clock))
    return tuple(taken)


def _milliseconds(run: Candidate, i: int, clock: Clock) -> float:
    if isinstance(run, DeviceRun):
        return run.run(i)
    began = clock()
    run(i)
    return (clock() - began) / 1e6


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect garbage now, and not during the runs."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
