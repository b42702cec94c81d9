"""How often the 95 % interval of a ratio holds the true one, on latencies whose truth is known.

    python benchmarks/coverage.py [--trials 1000]

Bar: 93 to 97 % of 1,000 trials for every kind of noise. A trial is a whole measurement by
``edgekit.latency.clock.measure`` of two candidates on a machine whose time is ours: one takes 0.9
times as long as the other, and the machine disturbs both. The reference against itself, whose truth
is 1, is counted as well, and so is the percentile bootstrap of the median on the same blocks.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from common import write_result

from edgekit.latency.clock import BLOCKS, Measurement, measure
from edgekit.machine.memory import peak_megabytes

TRUTH = 0.9
SECONDS = 0.12  # of the machine's time, a candidate
BAR = (0.93, 0.97)
RESAMPLES = 2000


class Machine:
    """Time passes only while a candidate runs, whose typical run takes a millisecond."""

    def __init__(self, kind: str, seed: int) -> None:
        self.now = 0.0  # ms
        self.rng = np.random.default_rng(seed)
        self._disturb = KINDS[kind](self)
        self._spread = 0.1 if kind == "lognormal" else 0.02

    def clock(self) -> int:
        return int(self.now * 1e6)

    def candidate(self, milliseconds: float) -> Callable[[int], None]:
        noise = self._noise()

        def run(i: int) -> None:
            self.now += milliseconds * next(noise) * self._disturb()

        return run

    def _noise(self) -> Iterator[float]:
        while True:
            yield from self.rng.lognormal(0, self._spread, 512).tolist()


def quiet(machine: Machine) -> Callable[[], float]:
    return lambda: 1.0


def drift(machine: Machine) -> Callable[[], float]:
    """A clock that sinks: 10 % slower over the measurement."""
    return lambda: 1 + 0.1 * machine.now / (3e3 * SECONDS)


def bursts(machine: Machine) -> Callable[[], float]:
    """Another program takes half of the machine, for 15 ms after 60 ms of quiet, on average."""
    until, busy = 0.0, True

    def disturb() -> float:
        nonlocal until, busy
        while machine.now >= until:
            busy = not busy
            until += machine.rng.exponential(15 if busy else 60)
        return 1.5 if busy else 1.0

    return disturb


def wandering(machine: Machine) -> Callable[[], float]:
    """A log factor that forgets itself within 30 ms (Ornstein-Uhlenbeck), 10 % wide."""
    then, state = 0.0, 0.0

    def disturb() -> float:
        nonlocal then, state
        kept = math.exp((then - machine.now) / 30)
        state = kept * state + math.sqrt(1 - kept * kept) * machine.rng.normal(0, 0.1)
        then = machine.now
        return math.exp(state)

    return disturb


def outliers(machine: Machine) -> Callable[[], float]:
    """One run in twenty takes three times as long."""
    return lambda: 3.0 if machine.rng.random() < 0.05 else 1.0


KINDS: dict[str, Callable[[Machine], Callable[[], float]]] = {
    "lognormal": quiet,
    "outliers": outliers,
    "drift": drift,
    "bursts": bursts,
    "wandering": wandering,
}


def trial(kind: str, seed: int) -> Measurement:
    machine = Machine(kind, seed)
    return measure(
        {"reference": machine.candidate(1.0), "other": machine.candidate(TRUTH)},
        reference="reference",
        seconds=SECONDS,
        max_warm_up=0.01,
        clock=machine.clock,
    )


def bootstrap(a: Sequence[float], b: Sequence[float], seed: int) -> tuple[float, float]:
    """The percentile bootstrap of the median of the block ratios."""
    ratios = np.divide(a, b)
    drawn = np.random.default_rng(seed).integers(len(ratios), size=(RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), [0.025, 0.975])
    return float(low), float(high)


def coverage(kind: str, trials: int) -> dict[str, Any]:
    held = {"ratio": 0, "against itself": 0, "bootstrap": 0}
    widths = []
    for seed in range(trials):
        measured = trial(kind, seed)
        ratio, floor = measured.ratio("other"), measured.noise_floor
        medians = (measured.timings[name].medians for name in ("other", "reference"))
        low, high = bootstrap(*medians, seed)
        held["ratio"] += ratio.low <= TRUTH <= ratio.high
        held["against itself"] += floor.low <= 1 <= floor.high
        held["bootstrap"] += low <= TRUTH <= high
        widths.append(ratio.high / ratio.low - 1)
    shares = {name: count / trials for name, count in held.items()}
    met = all(BAR[0] <= shares[name] <= BAR[1] for name in ("ratio", "against itself"))
    return {"coverage": shares, "median_width": float(np.median(widths)), "met": met}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    result = {kind: coverage(kind, trials) for kind in KINDS}
    for kind, found in result.items():
        shown = ", ".join(f"{name} {share:.1%}" for name, share in found["coverage"].items())
        print(f"{kind:<10} {shown}; width {found['median_width']:.1%}")
    about = {"trials": trials, "blocks": BLOCKS, "truth": TRUTH, "bar": BAR, "kinds": result}
    print(write_result("coverage", {**about, "peak_megabytes": peak_megabytes()}))


if __name__ == "__main__":
    main()
