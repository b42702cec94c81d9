"""``edgekit evaluate``: top-1 and top-5 of a bundle on labelled images."""

from __future__ import annotations

from pathlib import Path

import typer

from edgekit.cli.console import LiveProgress, err, escape, out, print_json
from edgekit.cli.help import DEBUG, INPUT, OUTPUT, RUNTIME, json_flag, option

LISTED = 5


def command(
    bundle: Path = typer.Argument(help="A bundle's folder.", show_default=False),
    data: Path = option(
        default=...,
        help="A folder with one subfolder per class (class name, number or WordNet id), or a CSV "
        "file with the columns file and label.",
        metavar="DATA",
        panel=INPUT,
    ),
    images: int | None = option(
        help="How many images at most, spread evenly; all by default.",
        metavar="N",
        panel=INPUT,
        min=1,
    ),
    reference: str | None = option(
        help="Another bundle, .onnx or network to compare with on the same images.",
        metavar="NAME",
        panel=INPUT,
    ),
    runtime: str = RUNTIME,
    answers: Path | None = option(
        help="Write each answer to this file; to resume, run the same command again.",
        metavar="FILE",
        panel=OUTPUT,
    ),
    json: bool = json_flag("The result"),
    debug: bool = DEBUG,
) -> None:
    """Measure a bundle's accuracy on labelled images, with 95 % intervals."""
    import edgekit

    found = edgekit.evaluate(
        bundle,
        data,
        runtime=runtime,
        reference=reference,
        answers=answers,
        images=images,
        progress=LiveProgress(quiet=json),
    )
    if json:
        print_json(found.to_json())
        return
    from edgekit.reports.parity_terminal import accuracy_line, labelled_lines

    out.print(f"{escape(found.bundle)} on {found.images} images of {escape(found.data)}")
    if found.compared is None:
        out.print(escape(accuracy_line(found.accuracy)))
    else:
        for line in labelled_lines(found.compared):
            out.print(escape(line))
    if found.resumed:
        out.print(f"{found.resumed} of them are from an earlier run", style="dim")
    for name, reason in list(found.skipped.items())[:LISTED]:
        err.print(f"[yellow]![/] {escape(name)} is skipped: {escape(reason)}")
    if len(found.skipped) > LISTED:
        err.print(f"[yellow]![/] {len(found.skipped) - LISTED} more images are skipped")
