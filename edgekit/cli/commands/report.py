"""``edgekit report``: one report of exports and benches."""

from __future__ import annotations

from pathlib import Path

import typer

from edgekit.cli.console import err, escape, out, print_json
from edgekit.cli.help import DEBUG, OUTPUT, json_flag, option


def command(
    paths: list[Path] = typer.Argument(
        help="Bundles, runs of training, folders with them at any depth, or the json of an "
        "export or a bench.",
        show_default=False,
    ),
    html: Path | None = option(help="Write a page in one HTML file.", metavar="FILE", panel=OUTPUT),
    markdown: Path | None = option(help="Write it as Markdown.", metavar="FILE", panel=OUTPUT),
    json: bool = json_flag("The report"),
    debug: bool = DEBUG,
) -> None:
    """Make one report of exports, benches and trainings, the worst first.

    Exits with 0 even if a gate failed in an export, and with 2 if nothing was found or a file is
    damaged.
    """
    import edgekit

    report = edgekit.report(*paths, html=html, markdown=markdown)

    if json:
        print_json(report.to_json())
    else:
        from edgekit.reports.summary_text import render

        out.print(render(report))
    for path in filter(None, (html, markdown)):
        err.print(f"wrote {escape(str(path))}")
