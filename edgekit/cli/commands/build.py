"""``edgekit build``: an engine from the graph of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgekit.cli.console import LiveProgress, as_flags, err, escape, out, print_json
from edgekit.cli.help import DEBUG, ENGINE, OUTPUT, flag, json_flag, option

if TYPE_CHECKING:
    from edgekit.tasks.build import Built


def command(
    bundle: Path = typer.Argument(help="A bundle's folder.", show_default=False),
    runtime: str | None = option(
        help="tensorrt (builds on this machine's GPU) or tensorrt-rtx (needs no GPU); by "
        "default the one that can run here.",
        metavar="NAME",
        panel=ENGINE,
    ),
    compute_capability: str | None = option(
        help="For tensorrt-rtx: sm75, sm80, sm86, sm89, sm120 or sm121; this machine's GPU by "
        "default.",
        metavar="SM",
        panel=ENGINE,
    ),
    batch: str | None = option(
        help="For a dynamic batch: 1,4,8 for kernels of each, 1:4:8 for a range, optimized for 4.",
        metavar="BATCHES",
        panel=ENGINE,
    ),
    opt_level: int | None = option(
        help="How long kernels are searched for, 0 to 5; 3 by default.",
        metavar="LEVEL",
        panel=ENGINE,
        min=0,
        max=5,
    ),
    workspace: int | None = option(
        help="Scratch memory for kernels in MB; by default all that the GPU has.",
        metavar="MB",
        panel=ENGINE,
        min=1,
    ),
    dla_core: int | None = option(
        help="Run the layers it supports on this Deep Learning Accelerator.",
        metavar="CORE",
        panel=ENGINE,
        min=0,
    ),
    io: str = option(
        default="fp32",
        help="Type of the engine's image and scores: fp16, int8 for the image alone, or fp32 to "
        "keep those of the graph.",
        metavar="TYPE",
        panel=ENGINE,
    ),
    force: bool = flag("--force", help="Build again an engine that exists.", panel=OUTPUT),
    json: bool = json_flag("The result"),
    debug: bool = DEBUG,
) -> None:
    """Build an engine into the bundle's engines/ folder, audit its precision, and check it on the
    golden images where this machine has the GPU.

    Exits with 1 if the engine does not have the bundle's precision or misses its gate; then it is
    not kept.
    """
    from edgekit import BuildConfig, Bundle
    from edgekit.runtimes.tensorrt.building.config import parse_io, parse_profiles
    from edgekit.tasks.builders import named_builder, timing_folder

    if runtime is not None:
        named_builder(runtime)
    config = BuildConfig(
        compute_capability,
        parse_profiles(batch),
        opt_level,
        workspace,
        dla_core,
        timing_cache=timing_folder(),
        io=parse_io(io),
    )
    built = Bundle.open(bundle).build(
        runtime, config, force=force, progress=LiveProgress(quiet=json)
    )
    if json:
        print_json(plainly(built))
    else:
        show(built)


def show(built: Built) -> None:
    from edgekit.cli.commands.inspect import describe_audit

    record = built.engine.record
    out.print(
        f"{escape(str(built.engine.path))}  {built.engine.megabytes:.1f} MB  {record.precision}  "
        f"{record.runtime} {record.version} {record.sm}"
    )
    if record.input_step is not None:
        out.print(
            f"the image input is int8: round(value / {record.input_step:.9g}), from -128 to 127"
        )
    if built.reused:
        out.print("the engine existed already; --force builds it again")
    for line in describe_audit(built.audit):
        out.print(escape(line))
    if record.dla:
        able = sum(placed.on_dla for placed in record.dla)
        used = sum(layer.on_dla for layer in record.layers)
        out.print(
            f"DLA core {record.options.dla_core}: {able} of {len(record.dla)} layers of the "
            f"network can run there, the rest on the GPU; the engine has {used} fused DLA layers"
        )
        for placed in record.dla:
            out.print(f"  {'DLA' if placed.on_dla else 'GPU'}  {escape(placed.layer)}")
    if record.golden is not None:
        g = record.golden
        sqnr = "no difference" if g.sqnr is None else f"SQNR {g.sqnr:.1f} dB"
        out.print(
            f"[green]✓[/] {g.images} golden images: max-abs {g.max_abs:.2e}, {sqnr}, {g.flips} "
            f"flips"
        )
    else:
        out.print(f"built, not run: this machine has no {record.sm} GPU")
    for note in (*built.audit.notes, *record.notes):
        err.print(f"[yellow]![/] {escape(as_flags(note))}")


def plainly(built: Built) -> dict[str, object]:
    from edgekit.reports.plain import plain

    record = plain(built.engine.record)
    return {
        "engine": str(built.engine.path),
        "megabytes": built.engine.megabytes,
        "reused": built.reused,
        "ran": built.ran,
        "audit": plain(built.audit),
        **{key: value for key, value in record.items() if key != "layers"},
    }
