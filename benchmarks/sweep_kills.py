"""Whether a sweep that is killed with SIGKILL at random moments ends with the same table as one that
is left alone.

    python benchmarks/sweep_kills.py --work W

The twelve networks of small_networks.py, in three precisions, are swept with two workers: once
undisturbed, and once with ten kills. The moments of the kills are drawn uniformly over the time that
the undisturbed sweep took (seed 0); each run of the second sweep is the same command again. The sweep
alone is killed; that its exports end with it is its own business. W keeps both sweeps, and the kills
so far in kills.json: the same command again goes on with the kills that are left, drawn over the time
that is left.

Compared, row by row: network, precision, status, exit code, message, SQNR, agreement and MB, and the
SHA-256 of every graph in the bundles. Left out is what depends on the clock: seconds, memory and
moments. Written to results/sweep_kills.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from common import RESULTS

from edgekit.artifact import sha256_of
from edgekit.machine.environment import describe
from edgekit.reports.plain import plain

ROOT = Path(__file__).resolve().parents[1]
KINDS = [f"{kind}{width}" for kind in ("plain", "depthwise") for width in (16, 32)]
NETWORKS = [f"benchmarks/small_networks.py:{kind}_{d}" for kind in KINDS for d in (1, 2, 3)]
PRECISIONS = "fp32,fp16,int8"
COMPARED = (
    *("network", "precision", "status", "exit_code", "message"),
    *("sqnr", "agreement", "megabytes"),
)
SEED = 0


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--kills", type=int, default=10)
    options.add_argument("--networks", default=",".join(NETWORKS))
    options.add_argument("--precision", default=PRECISIONS)
    options.add_argument("--out", type=Path, default=RESULTS / "sweep_kills.json")
    given = options.parse_args()
    command = _command(given.networks, given.precision)
    left_alone, disturbed = given.work / "undisturbed", given.work / "killed"
    _run(command, left_alone)
    seconds = _seconds(left_alone)
    kills = _kill(command, given.work, given.kills, seconds)
    _run(command, disturbed)
    tables = [_table(left_alone), _table(disturbed)]
    result = {
        "command": [*command[3:]],
        "environment": plain(describe()),
        "load": os.getloadavg(),
        "seed": SEED,
        "compared": [*COMPARED, "sha256 of every graph"],
        "undisturbed": {"seconds": seconds, "sha256": _digest(tables[0])},
        "killed": {"kills": kills, "sha256": _digest(tables[1])},
        "same": tables[0] == tables[1],
        "differences": [pair for pair in zip(*tables, strict=True) if pair[0] != pair[1]],
        "table": tables[0],
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{'the same' if result['same'] else 'ANOTHER'} table after {len(kills)} kills")
    sys.exit(0 if result["same"] else 1)


def _run(command: list[str], out: Path) -> None:
    subprocess.run([*command, "--out", str(out)], cwd=ROOT, check=False)


def _seconds(out: Path) -> float:
    """From the start of the first export to the end of the last."""
    with closing(sqlite3.connect(out / "sweep.sqlite")) as table:
        (seconds,) = table.execute("SELECT max(ended) - min(started) FROM cells").fetchone()
    return float(seconds)


def _command(networks: str, precisions: str) -> list[str]:
    fixed = ("--size", "32", "--rounding", "nearest", "--no-bench")
    asked = ("--precision", precisions, "--workers", "2")
    return [sys.executable, "-m", "edgekit", "sweep", networks, *asked, *fixed]


def _kill(command: list[str], work: Path, count: int, seconds: float) -> list[dict[str, Any]]:
    """Runs the sweep and kills it, again and again; what each kill found."""
    out, notes = work / "killed", work / "kills.json"
    kills: list[dict[str, Any]] = json.loads(notes.read_text()) if notes.is_file() else []
    left = seconds - sum(kill["after"] for kill in kills)
    dice = random.Random(SEED + len(kills))
    moments = sorted(dice.uniform(0, left) for _ in range(count - len(kills)))
    for early, late in zip([0.0, *moments], moments, strict=False):
        process = subprocess.Popen([*command, "--out", str(out)], cwd=ROOT)
        try:
            process.wait(late - early)
            ended = True
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            ended = False
        kills.append({"after": late - early, "had_ended": ended, "cells": _counts(out)})
        notes.write_text(json.dumps(kills))
        print(f"killed after {late - early:.1f} s: {kills[-1]['cells']}", flush=True)
    return kills


def _counts(out: Path) -> dict[str, int]:
    """The cells of each status; none where the sweep was killed before it had a table."""
    if not (out / "sweep.sqlite").is_file():
        return {}
    try:
        with closing(sqlite3.connect(out / "sweep.sqlite")) as table:
            return dict(table.execute("SELECT status, count(*) FROM cells GROUP BY status"))
    except sqlite3.OperationalError:
        return {}


def _table(out: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(out / "sweep.sqlite")) as table:
        query = f"SELECT name, {', '.join(COMPARED)} FROM cells ORDER BY position"
        rows = table.execute(query).fetchall()
    return [
        {**dict(zip(COMPARED, row, strict=True)), "graphs": _graphs(out, name)}
        for name, *row in rows
    ]


def _graphs(out: Path, name: str) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in sorted((out / "bundles" / name).glob("*.onnx"))}


def _digest(table: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    main()
