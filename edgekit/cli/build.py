"""``edgekit build``: an engine plan from a bundle's graph."""

from __future__ import annotations

from pathlib import Path

import typer

from edgekit.cli.console import LiveProgress, escape, out, print_json
from edgekit.errors import InputError


def command(
    bundle: Path = typer.Argument(help="A bundle's folder.", show_default=False),
    runtime: str = typer.Option("tensorrt-rtx", help="tensorrt-rtx (needs no GPU) or tensorrt (builds on this machine's GPU)."),
    compute_capability: str | None = typer.Option(
        None, help="For tensorrt-rtx: sm75, sm80, sm86, sm89, sm120 or sm121.", show_default=False
    ),
    json: bool = typer.Option(False, "--json", help="The result as json on stdout."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    """Build an engine into the bundle's engines/ folder."""
    from edgekit.build import build_engine
    from edgekit.bundle import Bundle
    from edgekit.runtimes.tensorrt import TENSORRT, TENSORRT_RTX, BuildConfig

    builders = {b.name: b for b in (TENSORRT, TENSORRT_RTX)}
    if runtime not in builders:
        raise InputError(f"--runtime {runtime} is unknown", hint=f"one of {', '.join(builders)}")
    progress = LiveProgress(quiet=json)
    with progress.step("build"):
        engine = build_engine(Bundle.open(bundle), builders[runtime], BuildConfig(compute_capability))
    if json:
        print_json({"engine": str(engine.path), "sha256": engine.sha256, "megabytes": engine.megabytes, "precision": engine.precision})
    else:
        out.print(f"{escape(str(engine.path))}  {engine.megabytes:.1f} MB  {engine.precision}")
