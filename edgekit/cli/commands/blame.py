"""``edgekit blame``: the layer that adds most error."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgekit.cli.console import LiveProgress, as_flags, err, escape, out, print_json
from edgekit.cli.help import (
    DEBUG,
    ENGINE,
    INPUT,
    MEASUREMENT,
    OUTPUT,
    complete_network,
    json_flag,
    option,
)
from edgekit.cli.options import parse_gate, parse_numbers
from edgekit.errors import InputError

if TYPE_CHECKING:
    from edgekit.layerwise.blame import Blame, LayerBlame


def command(
    reference: str = typer.Argument(
        help="The correct graph: a bundle, an .onnx file, or a network as for export.",
        show_default=False,
        autocompletion=complete_network,
    ),
    candidate: str = typer.Argument(
        help="The graph to check: the same kinds.",
        show_default=False,
        autocompletion=complete_network,
    ),
    images: Path | None = option(
        help="Folder of photos; a bundle's golden images by default, or the bundled photos.",
        metavar="DIR",
        panel=INPUT,
    ),
    mean: str | None = option(
        help="Preprocessing mean for .onnx files without a bundle: 0.485,0.456,0.406.",
        metavar="NUMBERS",
        panel=INPUT,
    ),
    std: str | None = option(
        help="Preprocessing standard deviation, in the same form.", metavar="NUMBERS", panel=INPUT
    ),
    runtime: str = option(
        default="onnxruntime",
        help="Runs the candidate; `edgekit doctor` lists the runtimes on this machine.",
        metavar="NAME",
        panel=ENGINE,
    ),
    limit: int = option(
        default=20,
        min=1,
        help="How many layers to list: those that add most error.",
        metavar="N",
        panel=OUTPUT,
    ),
    bound: float = option(
        default=20.0,
        help="Report the first value whose SQNR is below this many dB.",
        metavar="DB",
        panel=MEASUREMENT,
    ),
    gate: str = option(
        default="",
        help="Gate for the outputs: sqnr=40,agreement=0.99,relative=1e-4.",
        metavar="GATE",
        panel=MEASUREMENT,
    ),
    json: bool = json_flag("Every layer"),
    debug: bool = DEBUG,
) -> None:
    """Find the layer that adds most error, and the first that overflows.

    Exits with 1 if --gate is given and missed.
    """
    import edgekit

    required = parse_gate(gate).over(edgekit.Gate())
    if bound != bound:
        raise InputError("invalid value for --bound: nan", hint="--bound 20")
    with redirect_stdout(sys.stderr):  # a user's factory may print
        found = edgekit.blame(
            reference,
            candidate,
            images=images,
            mean=parse_numbers("--mean", mean),
            std=parse_numbers("--std", std),
            bound=bound,
            runtime=runtime,
            progress=LiveProgress(quiet=json),
        )
    failures = required.failures(found.output) if gate else ()
    if json:
        from edgekit.reports.plain import plain

        print_json({"verdict": found.verdict, **plain(found), "failures": list(failures)})
    else:
        _show(found, limit)
    if failures:
        err.print("[red]gate failed[/]: " + escape("; ".join(failures)))
        raise typer.Exit(1)


def _show(found: Blame, limit: int) -> None:
    from edgekit.layerwise.blame import decibels

    out.print(escape(found.verdict), style="bold")
    if found.below is not None and found.nonfinite is None:
        out.print(
            f"{escape(found.below.name)} is the first under {found.bound:g} dB: "
            f"{decibels(found.below.sqnr)}"
        )
    listed = [layer for layer in found.layers if layer.rank <= limit]
    width = max(len("layer"), *(len(layer.name) for layer in listed))
    out.print(
        f"\n{'adds':>4}  {'layer':<{width}}  "
        f"{'operator':<18}{'before':>11}{'behind':>11}{'its own':>11}{'max-abs':>10}",
        style="bold",
    )
    for layer in listed:
        out.print(_row(layer, width))
    if len(listed) < len(found.layers):
        out.print(
            f"      {len(found.layers) - len(listed)} layers that add less are not shown (--limit)",
            style="dim",
        )
    p = found.output
    end = (
        f"{p.nonfinite} numbers are not finite"
        if p.nonfinite
        else f"SQNR {decibels(p.sqnr)}, top-1 agreement {p.top1:.1%}"
    )
    out.print(f"\noutputs: {end}, on {found.images} images")
    for what, names in (
        ("the reference", found.only_reference),
        ("the candidate", found.only_candidate),
    ):
        if names:
            out.print(
                f"values in {what} only: {len(names)}, for example {escape(names[0])}",
                style="dim",
            )
    for caution in found.cautions:
        out.print(f"note: {escape(as_flags(caution))}", style="dim")


def _row(layer: LayerBlame, width: int) -> str:
    from edgekit.layerwise.blame import decibels

    own = "–" if layer.own is None else decibels(layer.own)
    numbers = (
        f"{decibels(layer.before):>11}{decibels(layer.sqnr):>11}{own:>11}{layer.max_abs:>10.1e}"
    )
    return f"{layer.rank:>4}  {escape(f'{layer.name:<{width}}')}  {layer.op_type:<18}{numbers}"
