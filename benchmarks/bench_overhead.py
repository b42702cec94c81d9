"""What the clock of `edgekit bench` adds to a latency: its median against that of a bare loop on the
same ONNX Runtime session.

    python benchmarks/bench_overhead.py BUNDLE [BUNDLE …] [--rounds 16]

Bar: within 2 %, the 95 % interval too. Both measure the same session and the same images run by
run, in an order of chance, so that a busy machine disturbs both; a round gives one ratio of medians.
Then whole measurements of the session against itself: their 95 % intervals should hold 1 in about
95 % of cases.
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
from edgekit.latency.clock import measure, milliseconds
from edgekit.latency.statistics import ratio_of_turns
from edgekit.pipeline.latency import batches_of, synchronous
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime

RUNS_SECONDS = 0.15  # of the machine's own time, a round and side
AGAINST_ITSELF = 12
BAR = 0.02


def overhead(path: Path, rounds: int) -> dict[str, Any]:
    bundle = Bundle.open(path)
    order = random.Random(0)
    with OnnxRuntime().load(bundle.cpu_artifact, SessionOptions(1)) as session:
        feeds = batches_of(session, bundle.golden().inputs, 1)
        run = synchronous(session, bundle.golden().inputs, 1)
        bare_session: Any = session._session

        def ours(i: int) -> float:
            return milliseconds(run, i)

        def bare(i: int) -> float:
            feed = feeds[i % len(feeds)]
            start = time.perf_counter_ns()
            bare_session.run(None, feed)
            return (time.perf_counter_ns() - start) / 1e6

        typical = min(bare(i) for i in range(50))
        runs = max(30, round(RUNS_SECONDS * 1e3 / typical))
        medians: dict[str, list[float]] = {"ours": [], "bare": []}
        for _ in range(rounds):
            taken: dict[str, list[float]] = {"ours": [], "bare": []}
            for i in range(runs):
                for name, clock in order.sample((("ours", ours), ("bare", bare)), 2):
                    taken[name].append(clock(i))
            for name, values in taken.items():
                medians[name].append(median(values))
        floors = [
            measure({"a": run}, reference="a", seconds=1, max_warm_up=1).noise_floor
            for _ in range(AGAINST_ITSELF)
        ]
    ratio = ratio_of_turns(medians["ours"], medians["bare"])
    pairs = zip(medians["ours"], medians["bare"], strict=True)
    return {
        "network": bundle.manifest.network.name,
        "precision": bundle.manifest.precision,
        "input": bundle.manifest.input.shape,
        "runs": runs,
        "ours_ms": medians["ours"],
        "bare_ms": medians["bare"],
        "added_microseconds": 1e3 * median(a - b for a, b in pairs),
        "ratio": ratio,
        "within_bar": ratio.low >= 1 - BAR and ratio.high <= 1 + BAR,
        "against_itself": floors,
        "hold_1": sum(floor.low <= 1 <= floor.high for floor in floors),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=16)
    given = parser.parse_args()
    found = [overhead(path, given.rounds) for path in given.bundles]
    about = {"threads": 1, "rounds": given.rounds, "bar": BAR}
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
