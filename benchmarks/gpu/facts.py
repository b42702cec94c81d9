"""Tests single functions of a real TensorRT, and writes the results.

    python benchmarks/gpu/facts.py [--bundles build/gpu] [--network NAME …] [--seconds-left 240]
    [--out FILE] [--dumps FOLDER]

Needs a GPU, TensorRT, cuda-python, onnx and edgekit's base install. Each test runs in its own
process, because a wrong engine can end it. Its result is written to the json before the next test:
``error`` if there is none. Finished tests do not run again. ``--dumps`` stores the output of the
inspector and the profiler for the bundles' engines, one file each, as recordings for tests.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from deadline import Deadline
from questions import (
    Answer,
    attempt,
    boundary_types,
    captured_graph,
    damaged_engine,
    engines,
    float_outputs,
    io_types,
    timing_cache,
    weights_of_int8,
)

from edgekit.artifact import Artifact, sha256_of
from edgekit.errors import EdgekitError
from edgekit.machine.environment import describe
from edgekit.reports.plain import plain
from edgekit.runtimes.tensorrt import Builder
from edgekit.runtimes.tensorrt.building.builder import TENSORRT
from edgekit.runtimes.tensorrt.running.loading import load_engine

ROOT = Path(__file__).resolve().parents[2]


NETWORKS = ("mobilenetv2", "resnet18", "mobilenetv3_large")


def _open(path: Path) -> int:
    """Opens an engine and runs nothing."""
    try:
        load_engine(TENSORRT.library(), Artifact(path, "engine", "int8", (), (), sha256_of(path)))
    except EdgekitError as error:
        print(error.message)
        return error.exit_code
    print("opened")
    return 0


def _questions(asked: argparse.Namespace) -> dict[str, Callable[[Path], Answer]]:
    """All tests by name; each gets its own folder."""
    small: tuple[Callable[[Builder, Path], Answer], ...] = (
        weights_of_int8,
        float_outputs,
        captured_graph,
        timing_cache,
        boundary_types,
        damaged_engine,
    )
    found: dict[str, Callable[[Path], Answer]] = {
        ask.__name__.replace("_", " "): lambda folder, ask=ask: ask(TENSORRT, folder)
        for ask in small
    }
    for name in asked.network:
        found[f"engines of {name}"] = lambda folder, name=name: engines(
            TENSORRT, asked.bundles, name, asked.dumps
        )
    for name in asked.network[:1]:
        found[f"io types of {name}"] = lambda folder, name=name: io_types(
            TENSORRT, asked.bundles, name
        )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    if asked.open is not None:
        return _open(asked.open)
    questions = _questions(asked)
    if asked.ask is not None:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(plain(attempt(lambda: questions[asked.ask](Path(folder))))))
        return 0
    deadline = Deadline(asked.seconds_left)
    try:
        library = TENSORRT.library()
        target = library.target(None)
    except EdgekitError as error:
        print(
            f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""),
            file=sys.stderr,
        )
        return error.exit_code
    path = (
        asked.out
        or ROOT
        / "benchmarks"
        / "results"
        / f"facts-{library.name}-{library.version}-{target.sm}.json"
    )
    told: Answer = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    told["machine"] = {
        "runtime": library.name,
        "version": library.version,
        "sm": target.sm,
        "gpu": target.gpu,
    }
    told["environment"] = plain(describe())
    for name in questions:
        if "error" not in told.get(name, {"error": "not asked"}):
            continue
        print(f"{name} …", file=sys.stderr, flush=True)
        began = time.perf_counter()
        told[name] = _asked(name, sys.argv[1:] if arguments is None else arguments, deadline.left)
        told[name]["seconds in all"] = round(time.perf_counter() - began, 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {json.dumps(told[name])[:600]}", flush=True)
    print(path)
    return 0


def _asked(name: str, arguments: Sequence[str], left: float) -> Answer:
    if left <= 0:
        return {"error": "not asked: the time was over"}
    command = [sys.executable, __file__, *arguments, "--ask", name]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=None if left == float("inf") else left,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {left:.0f} s"}
    if done.returncode:
        return {
            "error": f"the process ended with {done.returncode}",
            "said": done.stderr.strip().splitlines()[-3:],
        }
    answer: Answer = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundles", type=Path, default=ROOT / "build" / "gpu", metavar="FOLDER")
    parser.add_argument(
        "--network",
        nargs="*",
        default=NETWORKS,
        metavar="NAME",
        help="whose engines are asked for; none where none is named",
    )
    parser.add_argument("--seconds-left", type=float, metavar="S", help="end within these")
    parser.add_argument("--out", type=Path, metavar="FILE")
    parser.add_argument(
        "--dumps", type=Path, metavar="FOLDER", help="keep what inspector and profiler tell"
    )
    parser.add_argument("--ask", metavar="QUESTION", help="ask this one here and print the answer")
    parser.add_argument(
        "--open", type=Path, metavar="ENGINE", help="open this engine, and say whether it can be"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
