"""``edgekit upgrade-check``: what an upgrade changed, and which changes are worse."""

from __future__ import annotations

from pathlib import Path

import typer

from edgekit.cli.console import err, escape, out, print_json
from edgekit.cli.help import DEBUG, MEASUREMENT, json_flag, option


def command(
    old: Path = typer.Argument(
        help="A bundle, a folder of bundles, or the json of an export or a bench.",
        show_default=False,
    ),
    new: Path = typer.Argument(help="The same after the upgrade.", show_default=False),
    latency: float = option(
        default=0.05,
        help="The largest accepted increase of the latency: 0.05 is 5 %.",
        panel=MEASUREMENT,
        metavar="PART",
    ),
    sqnr: float = option(
        default=1.0,
        help="The largest accepted loss of SQNR in dB.",
        panel=MEASUREMENT,
        metavar="DB",
    ),
    agreement: float = option(
        default=0.01,
        help="The largest accepted loss of agreement: 0.01 is one percentage point.",
        panel=MEASUREMENT,
        metavar="PART",
    ),
    size: float = option(
        default=0.10,
        help="The largest accepted increase of the size of a graph or engine: 0.1 is 10 %.",
        panel=MEASUREMENT,
        metavar="PART",
    ),
    json: bool = json_flag("The result"),
    debug: bool = DEBUG,
) -> None:
    """Compare two states of the same bundle, for example with two versions of TensorRT.

    Shows different versions, parity, sizes, latencies with their interval, and layers of engines
    that compute in another precision. Latencies are compared only if one machine measured both.

    Exits with 1 if something is worse by more than its tolerance. If a figure has an interval, the
    whole interval must be beyond the tolerance.
    """
    import edgekit

    report = edgekit.upgrade_check(
        old, new, latency=latency, sqnr=sqnr, agreement=agreement, size=size
    )
    if json:
        print_json(report.to_json())
    else:
        from edgekit.reports.upgrade_text import render

        out.print(render(report))
    if not report.ok:
        count = len(report.worse)
        err.print(
            f"[red]{count} {'figure is' if count == 1 else 'figures are'} worse than before[/]"
        )
        err.print(f"\n[cyan]hint[/]: measure {escape(str(new))} again before you trust a latency")
        raise typer.Exit(1)
