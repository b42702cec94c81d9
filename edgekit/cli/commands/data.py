"""``edgekit data``: a small data set for trying training."""

from __future__ import annotations

from pathlib import Path

import typer

from edgekit.cli.console import LiveProgress, err, escape, out, print_json
from edgekit.cli.help import DEBUG, INPUT, OUTPUT, json_flag


def command(
    name: str = typer.Argument(
        help="fashion-mnist (70,000 images of 28 × 28 pixels; from the Debian package "
        "dataset-fashion-mnist, or downloaded) or digits (1,797 of 8 × 8; scikit-learn's).",
        show_default=False,
    ),
    out_folder: Path = typer.Option(
        ...,
        "--out",
        help="The data set's folder.",
        show_default=False,
        metavar="DIR",
        rich_help_panel=OUTPUT,
    ),
    offline: bool = typer.Option(
        False, "--offline", help="Use only files that are here.", rich_help_panel=INPUT
    ),
    json: bool = json_flag("The result"),
    debug: bool = DEBUG,
) -> None:
    """Write a data set for trying `edgekit train`: folders train and test, a folder a class."""
    from edgekit.reports.plain import plain
    from edgekit.tasks.datasets import write_dataset

    found = write_dataset(name, out_folder, offline=offline, progress=LiveProgress(quiet=json))
    if json:
        print_json(plain(found))
        return
    parts = ", ".join(f"{count} in {part}" for part, count in found.images.items())
    out.print(f"{escape(str(found.path))}  {len(found.classes)} classes, {parts}")
    out.print(f"source: {escape(found.source)}", style="dim")
    err.print(
        f"next: edgekit train mobilenetv2 --data {escape(str(out_folder))} --out runs/first",
        style="dim",
    )
