"""``edgekit bench``: measures latency in turns, after a check of parity."""

from __future__ import annotations

import json as jsonlib
from dataclasses import replace
from pathlib import Path

import typer

from edgekit.cli.console import LiveProgress, err, escape, out, print_json, with_flags
from edgekit.cli.help import DEBUG, MEASUREMENT, OUTPUT, json_flag
from edgekit.errors import InputError
from edgekit.files import check_writable


def command(
    bundles: list[Path] = typer.Argument(
        help="Folders of one or more bundles.", show_default=False
    ),
    runtime: str | None = typer.Option(
        None,
        help="torch and runtimes that `edgekit doctor` lists, separated by commas; the first is "
        "the reference. By default all that are installed, without torch.",
        show_default=False,
        metavar="NAMES",
        rich_help_panel=MEASUREMENT,
    ),
    batch: int | None = typer.Option(
        None,
        min=1,
        max=1024,
        help="Images at once; by default the bundles' static batch, or 1.",
        show_default=False,
        metavar="N",
        rich_help_panel=MEASUREMENT,
    ),
    threads: int | None = typer.Option(
        None,
        min=1,
        max=1024,
        help="CPU threads; by default half of the cores.",
        show_default=False,
        metavar="N",
        rich_help_panel=MEASUREMENT,
    ),
    seconds: float = typer.Option(
        3.0,
        min=0.1,
        max=600,
        help="How long each candidate is measured; 15 runs at least.",
        metavar="SECONDS",
        rich_help_panel=MEASUREMENT,
    ),
    streams: int = typer.Option(
        1,
        min=1,
        max=64,
        help="For engines: also measure throughput with this many streams.",
        metavar="N",
        rich_help_panel=MEASUREMENT,
    ),
    out_file: Path | None = typer.Option(
        None,
        "--out",
        help="Also write the json to this file.",
        show_default=False,
        metavar="FILE",
        rich_help_panel=OUTPUT,
    ),
    json: bool = json_flag("The report"),
    debug: bool = DEBUG,
) -> None:
    """Measure bundles and runtimes in turns, after checking the parity of each.

    Exits with 1 if parity fails (then no speed-up is printed), 2 if the input is wrong, 3 if a
    runtime cannot run here.
    """
    import edgekit

    chosen = _runtimes(runtime)
    if out_file is not None:
        check_writable("--out", out_file)
    report = edgekit.bench(
        *bundles,
        runtimes=chosen,
        batch=batch,
        threads=threads,
        seconds=seconds,
        streams=streams,
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
        raise typer.Exit(1)


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
