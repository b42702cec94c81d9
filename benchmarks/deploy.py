"""What a deployment costs beyond its own measuring: bytes and round trips of an unchanged bundle, and
how long eight devices take at once, as a multiple of one.

    python benchmarks/deploy.py BUNDLE [--runs 5] [--seconds 3]

The devices are OpenSSH servers on loopback, each with this Python's ONNX Runtime; so eight of them
share this machine's cores, which real devices do not.

Bars: nothing is sent again, in at most 3 round trips beyond the checks; eight take at most twice as
long as one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "devices"))

from common import write_result
from loopback import MISSING, Network

import edgekit

DEVICES = 8
CHECKS = 1  # the first round trip: connects, locks, asks what is there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    if MISSING:
        sys.exit(MISSING)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        network = Network(Path(folder))
        os.environ["PATH"] = f"{network.client}{os.pathsep}{os.environ['PATH']}"
        os.environ["EDGEKIT_CONFIG"] = str(Path(folder) / "config")
        try:
            result = measure(network, arguments.bundle, arguments.runs, arguments.seconds)
        finally:
            network.close()
    print(write_result("deploy", result))
    for key in ("sent", "trips_beyond_checks", "one", "eight", "ratio"):
        print(f"{key:<20}{result[key]}")


def measure(network: Network, bundle: Path, runs: int, seconds: float) -> dict[str, Any]:
    """Deploys once to each, then the unchanged bundle to one and to all, in turns."""
    names = [f"device{i}" for i in range(DEVICES)]
    for name in names:
        network.add(name)
        edgekit.add_device(name, name)
    first = edgekit.deploy(bundle, devices=names, seconds=0.1)
    assert first.ok, [row.message for row in first.rows]
    ones, eights, calls = [], [], network.calls
    row = edgekit.deploy(bundle, devices=names[0], seconds=seconds).rows[0]
    assert row.trips == network.calls - calls
    for _ in range(runs):
        ones.append(timed(bundle, names[:1], seconds))
        eights.append(timed(bundle, names, seconds))
    return {
        "what": f"an unchanged bundle to {DEVICES} devices on loopback, as a multiple of one",
        "bundle": bundle.name,
        "megabytes": sum(f.stat().st_size for f in bundle.rglob("*") if f.is_file()) / 1e6,
        "measured_seconds": seconds,
        "sent": row.sent,
        "trips_beyond_checks": row.trips - CHECKS,
        "one": ones,
        "eight": eights,
        "ratio": statistics.median(b / a for a, b in zip(ones, eights, strict=True)),
    }


def timed(bundle: Path, names: list[str], seconds: float) -> float:
    begun = time.perf_counter()
    report = edgekit.deploy(bundle, devices=names, seconds=seconds)
    assert report.ok, [row.message for row in report.rows]
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
