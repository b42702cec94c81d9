"""Prints an upgrade check on a terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from edgekit.reports.drawing import short
from edgekit.reports.terminal import grid
from edgekit.reports.upgrade import Figure, UpgradeReport

STYLES = {"worse": "bold red", "better": "green", "not compared": "yellow"}
SHOWN = {"no difference shown": "–"}
LISTED, LONGEST = 20, 40


def render(report: UpgradeReport) -> Group:
    """The versions, figures, layers and latencies that differ, and which are worse."""
    parts: list[Table | Text] = [Text(f"{report.old} → {report.new}", "bold")]
    parts += [
        Text(f"  {version.name} {version.before or 'none'} → {version.now or 'none'}")
        for version in report.versions
    ] or [Text("  all versions are the same", "dim")]
    parts += [Text(f"! {fact}", "yellow") for fact in report.machine]
    if report.figures:
        parts += [Text(), _figures(report)]
    if report.layers:
        parts += [Text(), Text("layers in another precision", "bold")]
    for layer in report.layers[:LISTED]:
        style = "bold red" if layer.wider and layer.matrix else ""
        parts.append(
            Text(f"  {layer.layer}: {layer.before} → {layer.now}  ({layer.engine})", style)
        )
    if len(report.layers) > LISTED:
        parts.append(Text(f"  and {len(report.layers) - LISTED} more"))
    if report.latencies:
        parts += [Text(), _latencies(report)]
    if report.left_out:
        parts.append(Text())
    parts += [
        Text.assemble(("– ", "yellow"), f"{name} {why}")
        for name, why in list(report.left_out.items())[:LISTED]
    ]
    parts.append(Text())
    parts += [Text.assemble(("✗ ", "bold red"), told) for told in report.worse]
    if report.ok:
        parts.append(Text("nothing is worse by more than its tolerance", "green"))
    return Group(*parts)


def _figures(report: UpgradeReport) -> Table:
    rows = grid(("network", "figure", "before", "now", "verdict", "by how much"), left=(0, 1, 4, 5))
    for figure in report.figures:
        rows.add_row(
            short(figure.of, LONGEST),
            figure.what,
            _number(figure, figure.before),
            _number(figure, figure.now),
            Text(SHOWN.get(figure.outcome, figure.outcome), STYLES.get(figure.outcome, "")),
            figure.why,
        )
    return rows


def _latencies(report: UpgradeReport) -> Table:
    titles = ("network", "candidate", "before ms", "now ms", "ratio [95 %]", "verdict")
    rows = grid(titles, left=(0, 1, 5))
    for each in report.latencies:
        change = each.change
        ratio = change.ratio
        told = f" ({each.why_not})" if each.why_not else ""
        rows.add_row(
            short(each.of, LONGEST),
            f"{change.name}, {change.what.partition(':')[0]}",
            f"{change.before:.3f}",
            f"{change.now:.3f}",
            f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]",
            Text(f"{SHOWN.get(each.outcome, each.outcome)}{told}", STYLES.get(each.outcome, "")),
        )
    return rows


def _number(figure: Figure, value: float | None) -> str:
    if value is None:
        return "–"
    if figure.unit == "dB":
        return "exact" if value == float("inf") else f"{value:.1f} dB"
    return f"{value:.2f} MB" if figure.unit == "MB" else f"{value:.1%}"
