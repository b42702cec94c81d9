"""Prints the report of an export."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from edgekit.reports import table
from edgekit.reports.document import Report, shown

_STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "reference": "dim"}


def render(report: Report) -> Group:
    """Ladder, latency, warnings with hints, the path, the next commands."""
    parts: list[Table | Text] = [_title(report), _ladder(report)]
    parts += [Text(line, style="yellow") for line in table.caveat_lines(report.ladder)]
    if report.calibration is not None:
        parts += [Text(), *map(Text, table.calibration_lines(report.calibration, report.kept))]
    if report.latency is not None:
        parts += [
            Text(),
            _latency(report),
            Text(table.latency_caption(report.latency), style="dim"),
        ]
    if report.advice:
        parts.append(Text())
    for advice in report.advice:
        parts.append(Text.assemble(("! ", "yellow"), advice.message))
        if advice.fix:
            parts.append(Text(f"  {advice.fix}", style="dim"))
    if report.path is not None:
        parts += [
            Text(),
            Text.assemble(
                ("bundle ", "bold"),
                shown(report.path),
                f"   {report.seconds:.1f} s, peak {report.peak_megabytes:.0f} MB",
            ),
        ]
        parts += [Text(f"  {command}", style="cyan") for command in report.next_commands]
    return Group(*parts)


def _title(report: Report) -> Text:
    weights = report.weights.file or report.weights.source
    trained = (
        f"{weights}" if report.weights.trained else f"random weights, seed {report.weights.seed}"
    )
    return Text.assemble(
        (report.network.name, "bold"),
        f" {report.precision}, {report.input}; {trained}; {report.images.count} photos "
        f"({report.images.source})\n",
    )


def _ladder(report: Report) -> Table:
    rows = grid(table.LADDER, left=(0, 6))
    for rung in report.ladder:
        *cells, verdict = table.ladder_row(rung)
        rows.add_row(*cells, Text(verdict, style=_STYLES[verdict]))
    return rows


def _latency(report: Report) -> Table:
    assert report.latency is not None
    rows = grid(table.LATENCY, left=(0, 5))
    for row in report.latency.rows:
        rows.add_row(*table.latency_row(row))
    return rows


def grid(titles: tuple[str, ...], left: tuple[int, ...]) -> Table:
    """An empty table. The columns of ``left`` are left-aligned texts, the others numbers. Texts are
    broken into lines if the terminal is too narrow, numbers never.
    """
    columns = Table(box=None, pad_edge=False, header_style="bold")
    for i, title in enumerate(titles):
        columns.add_column(title, justify="left" if i in left else "right", no_wrap=i not in left)
    return columns
