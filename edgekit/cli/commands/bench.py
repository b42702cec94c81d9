"""``edgekit bench``: measures latency in turns, after a check of parity."""

from __future__ import annotations

import json as jsonlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgekit.advice import Advice
from edgekit.cli.console import (
    LiveProgress,
    err,
    escape,
    out,
    print_advice,
    print_json,
    with_flags,
)
from edgekit.cli.help import COMPARISON, DEBUG, MEASUREMENT, OUTPUT, flag, json_flag, option
from edgekit.cli.options import parse_counts
from edgekit.errors import InputError

if TYPE_CHECKING:
    from edgekit.latency.loadgen import Scenario

TOLERANCE = 0.05


def command(
    bundles: list[Path] = typer.Argument(
        help="Folders of one or more bundles.", show_default=False
    ),
    runtime: str | None = option(
        help="torch and runtimes that `edgekit doctor` lists, separated by commas; the first is "
        "the reference. By default all that are installed, without torch.",
        metavar="NAMES",
        panel=MEASUREMENT,
    ),
    batch: int | None = option(
        help="Images at once; by default the bundles' static batch, or 1.",
        metavar="N",
        panel=MEASUREMENT,
        min=1,
        max=1024,
    ),
    threads: int | None = option(
        help="CPU threads; by default half of the cores.",
        metavar="N",
        panel=MEASUREMENT,
        min=1,
        max=1024,
    ),
    seconds: float = option(
        default=3.0,
        min=0.1,
        max=600,
        help="How long each candidate is measured; 40 runs at least.",
        metavar="SECONDS",
        panel=MEASUREMENT,
    ),
    streams: int = option(
        default=1,
        min=1,
        max=64,
        help="For engines: also measure throughput with this many streams.",
        metavar="N",
        panel=MEASUREMENT,
    ),
    batch_sweep: str | None = option(
        help="Also measure these batches, such as 1,4,8.", metavar="NUMBERS", panel=MEASUREMENT
    ),
    thread_sweep: str | None = option(
        help="Also measure with these numbers of CPU threads, such as 1,2,4.",
        metavar="NUMBERS",
        panel=MEASUREMENT,
    ),
    cold_start: bool = flag(
        "--cold-start",
        help="Also measure the time from process start to the first result, and the memory.",
        panel=MEASUREMENT,
    ),
    sustained: float | None = option(
        help="Also run each candidate this long without a pause: latency, clocks, temperature.",
        metavar="MINUTES",
        panel=MEASUREMENT,
        min=0.07,
        max=1440,
    ),
    scenario: str | None = option(
        help="Also run an MLPerf scenario with LoadGen: single-stream, offline or server.",
        metavar="NAME",
        panel=MEASUREMENT,
    ),
    scenario_seconds: float | None = option(
        help="How long the scenario runs; 10 by default. The rules of MLPerf require 600.",
        metavar="SECONDS",
        panel=MEASUREMENT,
        min=0.1,
        max=86400,
    ),
    qps: float | None = option(
        help="For server: queries per second. For offline: the expected images per second.",
        metavar="RATE",
        panel=MEASUREMENT,
        min=0.001,
        max=1e6,
    ),
    latency_bound: float | None = option(
        help="For server: the latency that 99 % of the queries must not exceed.",
        metavar="MS",
        panel=MEASUREMENT,
        min=0.001,
        max=1e6,
    ),
    compare: str | None = option(
        help="Compare with an earlier bench: LAST, its number in the history, or its json.",
        metavar="LAST|NUMBER|FILE",
        panel=COMPARISON,
    ),
    tolerance: float | None = option(
        min=0,
        max=100,
        help=f"How much slower than the earlier bench is not yet a regression; {TOLERANCE:g}, "
        f"which is {TOLERANCE:.0%}, by default.",
        metavar="SHARE",
        panel=COMPARISON,
    ),
    other_machine: bool = flag(
        "--other-machine", help="Also compare with a bench of another machine.", panel=COMPARISON
    ),
    history: Path | None = option(
        help="The file of earlier benches; by default one in your data folder.",
        metavar="FILE",
        panel=COMPARISON,
    ),
    no_history: bool = flag("--no-history", help="Do not save this bench.", panel=COMPARISON),
    out_file: Path | None = option(
        "--out", help="Also write the json to this file.", metavar="FILE", panel=OUTPUT
    ),
    json: bool = json_flag("The report"),
    debug: bool = DEBUG,
) -> None:
    """Measure bundles and runtimes in turns, after checking the parity of each.

    Exits with 1 if parity fails (then no speed-up is printed) or a candidate is slower than in the
    earlier bench beyond the tolerance, 2 if the input is wrong, 3 if a runtime cannot run here.
    """
    import edgekit

    chosen = _runtimes(runtime)
    load = _scenario(scenario, scenario_seconds, qps, latency_bound)
    batches, counts = (
        parse_counts(option, text)
        for option, text in (("--batch-sweep", batch_sweep), ("--thread-sweep", thread_sweep))
    )
    _check_comparison(compare, tolerance, other_machine)
    _check_files(out_file, history)
    kept = _history(history, no_history)
    report = edgekit.bench(
        *bundles,
        runtimes=chosen,
        batch=batch,
        threads=threads,
        seconds=seconds,
        streams=streams,
        batch_sweep=batches,
        thread_sweep=counts,
        cold_start=cold_start,
        sustained=sustained,
        scenario=load,
        history=kept,
        compare=compare,
        tolerance=TOLERANCE if tolerance is None else tolerance,
        other_machine=other_machine,
        progress=LiveProgress(quiet=json),
    )
    document = report.to_json()
    if out_file is not None:
        out_file.write_text(jsonlib.dumps(document, indent=1) + "\n", encoding="utf-8")
    if json:
        print_json(document)
    else:
        from edgekit.reports.bench_terminal import render

        out.print(render(replace(report, advice=with_flags(report.advice))))
    if report.failures:
        for failure in report.failures:
            err.print(f"[red]gate failed[/]: {escape(failure)}")
        err.print(
            "\n[cyan]hint[/]: `edgekit verify --runtime NAME` shows the difference; no speed-up is "
            "reported for a candidate that fails parity"
        )
    for regression in report.regressions:
        err.print(f"[red]regression[/]: {escape(regression)}")
    if report.failures or report.regressions:
        raise typer.Exit(1)


def _check_comparison(compare: str | None, tolerance: float | None, other_machine: bool) -> None:
    """
    Raises:
        InputError: an option for comparisons is given without one.
    """
    for name, given in (("--tolerance", tolerance is not None), ("--other-machine", other_machine)):
        if given and compare is None:
            raise InputError(
                f"{name} has no effect without --compare",
                hint=f"add --compare LAST, or remove {name}",
            )


def _check_files(out_file: Path | None, history: Path | None) -> None:
    """
    Raises:
        InputError: the json cannot be written, would be inside a bundle, or would replace the
            history.
    """
    from edgekit.tasks.outputs import check_distinct, check_outputs

    if out_file is None:
        return
    check_outputs({"out": out_file})
    if history is not None:
        check_distinct({"out": out_file, "history": history})


def _history(given: Path | None, none: bool) -> Path | None:
    """
    Raises:
        InputError: a file is given together with --no-history.
    """
    if none:
        if given is not None:
            raise InputError(
                f"--history {given} and --no-history exclude each other", hint="give one of them"
            )
        return None
    if given is not None:
        return given
    from edgekit.tasks.history import usable_history

    path, reason = usable_history()
    if reason is not None:
        print_advice(
            [
                Advice(
                    f"this bench is not saved: {reason}", "`history` FILE saves it to another file"
                )
            ]
        )
    return path


def _scenario(
    name: str | None, seconds: float | None, qps: float | None, bound: float | None
) -> Scenario | None:
    """
    Raises:
        InputError: the scenario is unknown, or an option for scenarios is given without one.
    """
    from edgekit.latency.loadgen import SCENARIOS, Scenario

    if name is None:
        for option, value in (
            *(("--scenario-seconds", seconds), ("--qps", qps)),
            ("--latency-bound", bound),
        ):
            if value is not None:
                raise InputError(
                    f"{option} needs a scenario", hint=f"--scenario {', '.join(SCENARIOS)}"
                )
        return None
    known = {scenario: scenario for scenario in SCENARIOS}
    if name not in known:
        raise InputError(f"unknown scenario {name!r}", hint=f"one of {', '.join(SCENARIOS)}")
    return Scenario(known[name], Scenario.seconds if seconds is None else seconds, qps, bound)


def _runtimes(text: str | None) -> tuple[str, ...]:
    """
    Raises:
        InputError: a name is empty, or given twice.
    """
    names = tuple(name.strip() for name in text.split(",")) if text is not None else ()
    if "" in names:
        raise InputError(f"--runtime {text}: a name is empty", hint="--runtime torch,onnxruntime")
    if len(set(names)) < len(names):
        raise InputError(
            f"--runtime {text}: a name is given twice",
            hint="the reference is always compared with itself: see the noise floor",
        )
    return names
