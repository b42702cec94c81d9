"""What the clock of `edgekit bench` adds to a latency: its median against that of a bare loop on the
same ONNX Runtime session.

    python benchmarks/bench_overhead.py BUNDLE [BUNDLE …] [--rounds 12]

Bar: within 2 % on MobileNetV2. In each round both measure the same session and the same images,
in an order that changes from round to round; the ratio is by round, with its 95 % interval. The
ratio of the session to itself, which each of our measurements gives, is kept too: its 95 % interval
should hold 1 in about 95 % of the rounds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

from common import write_result

from edgekit.bundle import Bundle
from edgekit.latency.clock import measure
from edgekit.latency.statistics import ratio_of_turns
from edgekit.pipeline.latency import batches_of, synchronous
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime

SECONDS = 2.0
BAR = 0.02


def bare_loop(session: Any, feeds: list[dict[str, Any]]) -> float:
    """The median milliseconds of runs that nothing but the clock surrounds."""
    taken = []
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        feed = feeds[len(taken) % len(feeds)]
        start = time.perf_counter_ns()
        session.run(None, feed)
        taken.append((time.perf_counter_ns() - start) / 1e6)
    return median(taken)


def overhead(path: Path, rounds: int) -> dict[str, Any]:
    bundle = Bundle.open(path)
    images = bundle.golden().inputs
    with OnnxRuntime().load(bundle.cpu_artifact, SessionOptions(1)) as session:
        feeds = batches_of(session, images, 1)
        run = synchronous(session, images, 1)
        ours, bare, itself = [], [], []
        for turn in range(rounds):
            for which in ("ours", "bare") if turn % 2 == 0 else ("bare", "ours"):
                if which == "ours":
                    measured = measure({"a": run}, reference="a", seconds=SECONDS)
                    ours.append(measured.timings["a"].summary.median)
                    itself.append(measured.noise_floor)
                else:
                    bare.append(bare_loop(session._session, feeds))
            print(f"{path.name} {turn + 1}/{rounds}: {ours[-1]:.4f} {bare[-1]:.4f} ms", flush=True)
    ratio = ratio_of_turns(ours, bare)
    return {
        "network": bundle.manifest.network.name,
        "precision": bundle.manifest.precision,
        "ours_ms": ours,
        "bare_ms": bare,
        "added_microseconds": 1e3 * median(a - b for a, b in zip(ours, bare, strict=True)),
        "ratio": ratio,
        "within_bar": abs(ratio.value - 1) <= BAR,
        "against_itself": itself,
        "includes_1": sum(floor.low <= 1 <= floor.high for floor in itself),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args()
    found = [overhead(path, given.rounds) for path in given.bundles]
    about = {"threads": 1, "seconds": SECONDS, "rounds": given.rounds, "bar": BAR}
    print(write_result("bench_overhead", {**about, "sessions": found}))
    for row in found:
        ratio = row["ratio"]
        print(
            f"{row['network']:<14}{ratio.value:.4f} [{ratio.low:.4f}, {ratio.high:.4f}], "
            f"{row['added_microseconds']:.2f} µs; against itself "
            f"{row['includes_1']} of {given.rounds} intervals hold 1"
        )


if __name__ == "__main__":
    main()
