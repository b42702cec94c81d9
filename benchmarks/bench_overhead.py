"""What the clock of `edgekit bench` adds to a latency: its median against that of a bare loop on the
same ONNX Runtime session.

    python benchmarks/bench_overhead.py BUNDLE [BUNDLE …] [--rounds 100]

Bar: within 2 %. In each round both have a turn on the same session and the same images, in an order
of chance; the ratio is by round, with its 95 % interval. Then whole measurements of the session
against itself: their 95 % intervals should hold 1 in about 95 % of cases.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from statistics import median
from typing import Any

from common import write_result

from edgekit.bundle import Bundle
from edgekit.latency.clock import measure, take_turn
from edgekit.latency.statistics import ratio_of_turns
from edgekit.pipeline.latency import batches_of, synchronous
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime

SECONDS = 0.1  # a turn
AGAINST_ITSELF = 20
BAR = 0.02


def bare_loop(session: Any, feeds: list[dict[str, Any]]) -> list[float]:
    """Milliseconds of runs that nothing but the clock surrounds; the first is not kept."""
    taken: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS or len(taken) < 3:
        feed = feeds[len(taken) % len(feeds)]
        start = time.perf_counter_ns()
        session.run(None, feed)
        taken.append((time.perf_counter_ns() - start) / 1e6)
    return taken[1:]


def overhead(path: Path, rounds: int) -> dict[str, Any]:
    bundle = Bundle.open(path)
    images = bundle.golden().inputs
    order = random.Random(0)
    with OnnxRuntime().load(bundle.cpu_artifact, SessionOptions(1)) as session:
        feeds = batches_of(session, images, 1)
        run = synchronous(session, images, 1)
        turns = {
            "ours": lambda: take_turn(run, SECONDS, 2, time.perf_counter_ns),
            "bare": lambda: bare_loop(session._session, feeds),
        }
        medians: dict[str, list[float]] = {name: [] for name in turns}
        for _ in range(rounds):
            for name in order.sample(sorted(turns), 2):
                medians[name].append(median(turns[name]()))
        floors = [
            measure({"a": run}, reference="a", seconds=1, max_warm_up=1).noise_floor
            for _ in range(AGAINST_ITSELF)
        ]
    ours, bare = medians["ours"], medians["bare"]
    ratio = ratio_of_turns(ours, bare)
    return {
        "network": bundle.manifest.network.name,
        "precision": bundle.manifest.precision,
        "input": bundle.manifest.input.shape,
        "ours_ms": ours,
        "bare_ms": bare,
        "added_microseconds": 1e3 * median(a - b for a, b in zip(ours, bare, strict=True)),
        "ratio": ratio,
        "within_bar": abs(ratio.value - 1) <= BAR,
        "interval_within_bar": ratio.low >= 1 - BAR and ratio.high <= 1 + BAR,
        "against_itself": floors,
        "hold_1": sum(floor.low <= 1 <= floor.high for floor in floors),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=100)
    given = parser.parse_args()
    found = [overhead(path, given.rounds) for path in given.bundles]
    about = {"threads": 1, "seconds": SECONDS, "rounds": given.rounds, "bar": BAR}
    print(write_result("bench_overhead", {**about, "sessions": found}))
    for row in found:
        ratio = row["ratio"]
        print(
            f"{row['network']:<16}{median(row['bare_ms']):.4f} ms, {ratio.value:.4f} "
            f"[{ratio.low:.4f}, {ratio.high:.4f}], {row['added_microseconds']:.2f} µs; against "
            f"itself {row['hold_1']} of {AGAINST_ITSELF} intervals hold 1"
        )


if __name__ == "__main__":
    main()
