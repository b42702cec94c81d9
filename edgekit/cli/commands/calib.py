"""``edgekit calib``: makes a calibration set from a folder of photos."""

from __future__ import annotations

from pathlib import Path

import typer

from edgekit.cli.console import LiveProgress, escape, out, print_json
from edgekit.cli.help import DEBUG, INPUT, OUTPUT, flag, json_flag, option


def command(
    folder: Path = typer.Argument(help="A folder of photos.", show_default=False),
    out_folder: Path = option(
        "--out",
        default=...,
        help="The calibration set's folder.",
        metavar="DIR",
        panel=OUTPUT,
    ),
    images: int = option(
        default=512,
        min=8,
        help="The most photos to copy, spread evenly over the folder.",
        metavar="N",
        panel=INPUT,
    ),
    force: bool = flag("--force", help="Replace an existing set.", panel=OUTPUT),
    json: bool = json_flag("The result"),
    debug: bool = DEBUG,
) -> None:
    """Copy the readable, distinct photos of a folder, with a list of their hashes."""
    from edgekit.reports.plain import plain
    from edgekit.tasks.calibset import gather

    with LiveProgress(quiet=json).step("gather"):
        result = gather(folder, out_folder, images, force=force)
    if json:
        print_json(plain(result))
        return
    out.print(f"{escape(str(result.path))}  {result.count} photos  sha256 {result.sha256[:16]}…")
    for name, original in result.duplicates.items():
        out.print(f"  [yellow]duplicate[/] {escape(name)} (of {escape(original)})")
    for name, reason in result.corrupt.items():
        out.print(f"  [yellow]corrupt[/] {escape(name)}: {escape(reason)}")
    for name in result.ignored:
        out.print(f"  [dim]not an image[/] {escape(name)}")
