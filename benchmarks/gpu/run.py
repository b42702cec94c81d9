"""Measures bundles on the GPU of this machine: builds, audits and checks engines, and times them in
turns with PyTorch.

    python benchmarks/gpu/run.py [--bundles build/gpu] [--network NAME …] [--torch-python 'python3']
    [--seconds-left 540]

Needs a GPU, TensorRT (8.6, 10, 11 or RTX), cuda-python, edgekit's base install and the bundles that
prepare.py made; torch is only needed for the comparison, and may be in another Python. One row per
network and batch is written to benchmarks/results/gpu-….json as soon as it is measured. Existing
rows are kept, so a stopped run continues. With ``--seconds-left`` no row starts that would take
longer than the longest so far.

``--build-only --capability sm86`` builds with TensorRT-RTX for these GPUs on a machine without a
GPU, and runs nothing.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from deadline import Deadline, OutOfTime
from entries import Row
from link import TorchSide
from measuring import Say, Settings, build_row, measure_row
from networks import BATCHES, NETWORKS, PRECISIONS, bundle_name
from rows import Machine, Results, open_results, write_results

from edgekit.errors import EdgekitError, EnvironmentLacks, InputError
from edgekit.machine.driver import driver
from edgekit.machine.environment import describe
from edgekit.reports.plain import plain
from edgekit.runtimes import builders
from edgekit.runtimes.tensorrt import Builder
from edgekit.tasks.sessions import require

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
FIRST_ROW_SECONDS = 90.0
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    try:
        return _build_all(asked) if asked.build_only else _measure_all(asked)
    except EdgekitError as error:
        _say(f"error: {error.message}")
        if error.hint:
            _say(f"hint: {error.hint}")
        return error.exit_code


def _measure_all(asked: argparse.Namespace) -> int:
    """
    Raises:
        EnvironmentLacks: no GPU, or nothing that builds for it.
        InputError: no bundle is there, or the file of results is of another machine.
    """
    builder = _builder(asked.runtime)
    require(builder)
    library, found = builder.library(), driver()
    target = library.target(None)
    torch, missing = _torch(asked.torch_python)
    machine = Machine(
        runtime=library.name,
        version=library.version,
        gpu=target.gpu,
        cuda=found.version if found is not None else None,
    )
    settings = Settings(
        asked.seconds,
        opt_level=asked.opt_level,
        timing_cache=asked.bundles / "timing",
        dumps=asked.dumps,
    )
    about = torch.about if torch is not None else None
    path = (
        asked.out
        or RESULTS / f"gpu-{_slug(target.gpu or target.sm)}-{library.name}-{library.version}.json"
    )
    results = open_results(
        path,
        Results(
            machine=machine,
            settings=plain(settings),
            torch=about,
            torch_missing=missing,
            environment=plain(describe()),
        ),
    )
    if path.exists():
        write_results(path, results)
    deadline = Deadline(asked.seconds_left)
    longest = FIRST_ROW_SECONDS
    try:
        for row in _rows(asked, [target.sm]):
            if results.has(row) and not asked.again:
                continue
            if deadline.left < longest:
                _say(
                    f"{deadline.left:.0f} s are left, and a row takes up to {longest:.0f} s: the "
                    f"next run goes on with {row.name}"
                )
                break
            if torch is not None and not torch.alive:
                torch, missing = _torch(asked.torch_python)
            write_results(path, results.model_copy(update={"under_way": row}))
            try:
                measured = measure_row(
                    row, asked.bundles, builder, torch, settings, deadline, _prefixed(row)
                )
            except OutOfTime as error:
                _say(f"{error.message}: the next run measures {row.name}")
                break
            finally:
                write_results(path, results)
            results = results.with_row(measured)
            write_results(path, results)
            longest = max(longest, measured.seconds or 0.0)
            _tell(measured)
    finally:
        if torch is not None:
            torch.stop()
    return _end(path, results)


def _build_all(asked: argparse.Namespace) -> int:
    """
    Raises:
        InputError: no capability is named, or no bundle is there.
    """
    builder = _builder(asked.runtime, ahead_of_time=True)
    if not asked.capability:
        raise InputError("--build-only: for which GPUs?", hint="--capability sm86 sm89")
    library = builder.library()
    machine = Machine(runtime=library.name, version=library.version, gpu=None, cuda=None)
    settings = Settings(opt_level=asked.opt_level)
    path = asked.out or ROOT / "build" / f"plans-{library.name}-{library.version}.json"
    results = open_results(
        path, Results(machine=machine, settings=plain(settings), environment=plain(describe()))
    )
    deadline = Deadline(asked.seconds_left)
    for row in _rows(asked, [library.target(name).sm for name in asked.capability]):
        if results.has(row) and not asked.again:
            continue
        try:
            built = build_row(row, asked.bundles, builder, settings, deadline, _prefixed(row))
        except OutOfTime as error:
            _say(f"{error.message}: the next run builds {row.name}")
            break
        results = results.with_row(built)
        write_results(path, results)
        _tell(built)
    return _end(path, results)


def _builder(name: str | None, *, ahead_of_time: bool = False) -> Builder:
    """The named builder; else the first that can build here.

    Raises:
        EnvironmentLacks: there is none.
        InputError: the builder is unknown, or cannot build for other machines as requested.
    """
    known = builders()
    if name is not None and name not in known:
        raise InputError(f"unknown runtime {name!r}", hint=f"one of {', '.join(known)}")
    if ahead_of_time:
        able = [
            builder
            for builder in known.values()
            if builder.ahead_of_time and name in (None, builder.name)
        ]
        if not able:
            raise InputError(
                f"{name} builds on the GPU that runs the engine",
                hint="--build-only is for tensorrt-rtx",
            )
        return able[0]
    states = {builder: builder.available() for key, builder in known.items() if name in (None, key)}
    for builder, state in states.items():
        if state.ok:
            return builder
    why = "; ".join(f"{builder.name}: {state.reason}" for builder, state in states.items())
    raise EnvironmentLacks(
        f"nothing can be measured here ({why})",
        hint="--build-only --capability sm86 builds with TensorRT-RTX without a GPU",
    )


def _torch(command: str | None) -> tuple[TorchSide | None, str | None]:
    """PyTorch's process, or the reason why there is none. If the user named a Python, it must work.

    Raises:
        EnvironmentLacks: the named Python has no torch that runs here.
    """
    try:
        return TorchSide(command), None
    except EnvironmentLacks as error:
        if command is not None:
            raise
        _say(f"without PyTorch: {error.message}; {error.hint}")
        return None, error.message


def _rows(asked: argparse.Namespace, architectures: Sequence[str]) -> Iterator[Row]:
    """The rows of the networks that have bundles.

    Raises:
        InputError: there is no bundle.
    """
    there = [
        name
        for name in asked.network
        if any((asked.bundles / bundle_name(name, precision)).is_dir() for precision in PRECISIONS)
    ]
    if not there:
        raise InputError(
            f"{asked.bundles} holds no bundle of {', '.join(asked.network)}",
            hint="benchmarks/gpu/prepare.py makes them",
        )
    if missing := [name for name in asked.network if name not in there]:
        _say(f"no bundles here of {', '.join(missing)}")
    return (
        Row(network=name, batch=batch, sm=sm)
        for name in there
        for batch in asked.batch
        for sm in architectures
    )


def _tell(row: Row) -> None:
    """Prints a line: medians without copies in milliseconds, or what was built."""
    if row.device is not None:
        facts = [
            f"{found.name.removeprefix('engine ')} {found.summary.median:.3f}"
            for found in row.device.rows
        ]
    else:
        facts = [
            f"{name} {engine.megabytes:.1f} MB"
            for name, engine in row.engines.items()
            if engine.megabytes is not None
        ]
    print(f"{row.name}, {row.sm}: {', '.join(facts)}", flush=True)
    for failure in row.failures:
        _say(f"failed: {failure}")


def _end(path: Path, results: Results) -> int:
    for bar in results.bars:
        state = {True: "met", False: "MISSED", None: "open"}[bar.met]
        value = "" if bar.value is None else f" {bar.value:.3g}"
        print(
            f"{state:<7}{bar.what} ({bar.of}; "
            f"{bar.limit}){value}{': ' + bar.why if bar.why else ''}"
        )
    print(path)
    return 0


def _prefixed(row: Row) -> Say:
    return lambda what: _say(f"{row.name}: {what}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundles", type=Path, default=ROOT / "build" / "gpu", metavar="FOLDER")
    parser.add_argument(
        "--network", nargs="+", default=NETWORKS, metavar="NAME", help="all by default"
    )
    parser.add_argument("--batch", nargs="+", type=int, default=BATCHES, metavar="N")
    parser.add_argument(
        "--runtime",
        metavar="NAME",
        help="tensorrt or tensorrt-rtx; the first that is here by default",
    )
    parser.add_argument(
        "--torch-python", metavar="COMMAND", help="a Python that has torch, where this one has not"
    )
    parser.add_argument(
        "--seconds", type=float, default=Settings.seconds, help="of the clock for each candidate"
    )
    parser.add_argument("--opt-level", type=int, metavar="N", help="TensorRT's, 0 to 5")
    parser.add_argument("--seconds-left", type=float, metavar="S", help="end within these")
    parser.add_argument(
        "--dumps",
        type=Path,
        metavar="FOLDER",
        help="keep what inspector and profiler tell, a file an engine",
    )
    parser.add_argument("--again", action="store_true", help="measure rows that are there, too")
    parser.add_argument("--out", type=Path, metavar="FILE")
    parser.add_argument(
        "--build-only", action="store_true", help="build for --capability, run nothing"
    )
    parser.add_argument("--capability", nargs="+", default=[], metavar="SM", help="sm86 sm89")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
