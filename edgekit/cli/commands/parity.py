"""``edgekit parity``: compares two of bundle, engine, ONNX graph and network on the same photos."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import typer

from edgekit.cli.console import LiveProgress, as_flags, err, escape, out, print_json, with_flags
from edgekit.cli.help import (
    DEBUG,
    ENGINE,
    INPUT,
    MEASUREMENT,
    complete_network,
    flag,
    json_flag,
    option,
)
from edgekit.cli.options import parse_gate, parse_numbers


def command(
    reference: str = typer.Argument(
        help="The reference: a bundle, an engine in a bundle, an .onnx file, or a network.",
        show_default=False,
        autocompletion=complete_network,
    ),
    candidate: str = typer.Argument(
        help="The side to check: the same kinds.",
        show_default=False,
        autocompletion=complete_network,
    ),
    images: Path | None = option(
        help="Folder of photos; the bundled ones by default.", metavar="DIR", panel=INPUT
    ),
    labels: Path | None = option(
        help="Labelled photos: a folder with one subfolder per class, or a CSV file (file,label).",
        metavar="DATA",
        panel=INPUT,
    ),
    count: int = option(
        default=1024,
        min=1,
        help="How many photos at most.",
        metavar="N",
        panel=INPUT,
    ),
    mean: str | None = option(
        help="Preprocessing mean of an .onnx file without preprocessing: 0.485,0.456,0.406.",
        metavar="NUMBERS",
        panel=INPUT,
    ),
    std: str | None = option(
        help="Preprocessing standard deviation, in the same form.", metavar="NUMBERS", panel=INPUT
    ),
    runtime: str = option(
        default="onnxruntime",
        help="Runs the candidate, if it is a bundle or an .onnx file.",
        metavar="NAME",
        panel=ENGINE,
    ),
    reference_runtime: str = option(
        default="onnxruntime",
        help="Runs the reference, if it is a bundle or an .onnx file.",
        metavar="NAME",
        panel=ENGINE,
    ),
    gate: str = option(
        default="",
        help="Gate for the outputs, for example agreement=0.99,sqnr=40; by default the "
        "gate of a bundle, else that of FP32.",
        metavar="GATE",
        panel=MEASUREMENT,
    ),
    no_explain: bool = flag(
        "--no-explain", help="Do not search for the layer that breaks parity.", panel=MEASUREMENT
    ),
    json: bool = json_flag("The report"),
    debug: bool = DEBUG,
) -> None:
    """Run two sides on the same photos, each with its own preprocessing, and compare them.

    Exits with 1 if the gate is missed; the report says whether the input or a layer breaks parity.
    """
    import edgekit

    with redirect_stdout(sys.stderr):  # a user's factory may print
        report = edgekit.parity(
            reference,
            candidate,
            images=images,
            labels=labels,
            count=count,
            gate=parse_gate(gate),
            mean=parse_numbers("--mean", mean),
            std=parse_numbers("--std", std),
            runtime=runtime,
            reference_runtime=reference_runtime,
            explain=not no_explain,
            progress=LiveProgress(quiet=json),
        )
    if json:
        print_json(report.to_json())
    else:
        from edgekit.reports.parity_terminal import render

        out.print(render(replace(report, advice=with_flags(report.advice))))
    if not report.ok:
        err.print("[red]gate failed[/]: " + escape(as_flags("; ".join(report.failures))))
        raise typer.Exit(1)
