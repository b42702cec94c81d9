"""``edgekit data``: writes a small data set, to try training."""

from __future__ import annotations

from pathlib import Path

import typer

from edgekit.cli.console import LiveProgress, err, escape, out, print_json
from edgekit.cli.help import DEBUG, INPUT, OUTPUT, flag, json_flag, option


def command(
    name: str = typer.Argument(
        help="fashion-mnist (70,000 images of 28 × 28 pixels; from the Debian package "
        "dataset-fashion-mnist, or downloaded) or digits (1,797 images of 8 × 8 pixels; "
        "part of scikit-learn).",
        show_default=False,
    ),
    out_folder: Path = option(
        "--out",
        default=...,
        help="The folder of the data set.",
        metavar="DIR",
        panel=OUTPUT,
    ),
    offline: bool = flag("--offline", help="Download nothing.", panel=INPUT),
    json: bool = json_flag("The result"),
    debug: bool = DEBUG,
) -> None:
    """Write a data set to try `edgekit train`: folders train and test, one folder per class."""
    from edgekit.reports.plain import plain
    from edgekit.tasks.datasets import write_dataset

    found = write_dataset(name, out_folder, offline=offline, progress=LiveProgress(quiet=json))
    if json:
        print_json(plain(found))
        return
    parts = ", ".join(f"{count} in {part}" for part, count in found.images.items())
    out.print(f"{escape(str(found.path))}  {len(found.classes)} classes, {parts}")
    out.print(f"source: {escape(found.source)}", style="dim")
    mirrored = " --no-flip" if name == "digits" else ""
    err.print(
        f"next: edgekit train lenet5 --weights none --data {escape(str(out_folder))}{mirrored} "
        f"--epochs 5 --out runs/{name}",
        style="dim",
    )
