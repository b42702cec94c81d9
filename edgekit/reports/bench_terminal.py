"""Prints the report of a bench."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table as Grid
from rich.text import Text

from edgekit.reports import table
from edgekit.reports.bench import BenchReport, Table
from edgekit.reports.bench_more_terminal import more
from edgekit.reports.document import LatencyRow
from edgekit.reports.terminal import grid


def render(report: BenchReport) -> Group:
    """Parity, latencies, verdicts, skipped candidates, warnings with hints, the machine."""
    parts: list[Grid | Text] = [_parity(report)]
    for measured in filter(None, (report.end_to_end, report.engine_only)):
        lines = (_caption(report, measured), *_bounds(measured))
        parts += [Text(), _latency(report, measured), *(Text(line, style="dim") for line in lines)]
    if report.throughput:
        parts.append(Text())
    parts += [
        Text(f"{name}: {rate:.0f} images a second in {report.streams} streams")
        for name, rate in report.throughput.items()
    ]
    parts += more(report)
    for shipped in report.verdicts:
        best = f"ship {shipped.verdict.ship.upper()}" if shipped.verdict.ship else "ship neither"
        parts += [
            Text(),
            Text.assemble(
                (best, "bold"),
                f" of {shipped.network} with {shipped.runtime}: {shipped.verdict.why}",
            ),
        ]
    if report.left_out or report.advice:
        parts.append(Text())
    parts += [
        Text.assemble(("– ", "yellow"), f"{name} is skipped: {reason}")
        for name, reason in report.left_out.items()
    ]
    for advice in report.advice:
        parts.append(Text.assemble(("! ", "yellow"), advice.message))
        if advice.fix:
            parts.append(Text(f"  {advice.fix}", style="dim"))
    lines = (*table.environment_lines(report.environment), *table.clock_lines(report.environment))
    if report.number is not None:
        lines += (f"history   bench {report.number} in {report.history}",)
    return Group(*parts, Text(), *map(Text, lines))


def _parity(report: BenchReport) -> Grid:
    rows = grid(table.PROOF, left=(0, 4))
    for proof in report.proofs:
        verdict = Text("fail", style="bold red") if proof.failures else Text("pass", style="green")
        rows.add_row(
            f"{proof.name} {proof.version or ''}".strip(),
            *table.parity_cells(proof.parity),
            verdict,
        )
    return rows


def _latency(report: BenchReport, measured: Table) -> Grid:
    failed = {proof.name for proof in report.proofs if proof.failures}
    rows = grid(table.LATENCY, left=(0, 5))
    for row in measured.rows:
        s = row.summary
        times = [table.milliseconds(value) for value in (s.median, s.p90, s.p99)]
        rows.add_row(row.name, *times, f"{s.cv:.1%}", _comparison(row, measured.reference, failed))
    return rows


def _comparison(row: LatencyRow, reference: str, failed: set[str]) -> str:
    if row.name in failed:
        return "parity failed"
    if row.name == reference:
        return "reference"
    return table.ratio(row.ratio) if row.ratio is not None else "the reference failed parity"


def _bounds(measured: Table) -> list[str]:
    """MLPerf's early-stopping bounds of the percentiles, if there are enough runs."""
    told = []
    for row in measured.rows:
        bounds = [
            f"{name} at most {table.milliseconds(bound)}"
            for name, bound in (("p90", row.summary.p90_bound), ("p99", row.summary.p99_bound))
            if bound is not None
        ]
        if bounds:
            told.append(f"{row.name}: with 99 % confidence {' and '.join(bounds)} ms")
    return told


def _caption(report: BenchReport, measured: Table) -> str:
    floor = measured.noise_floor
    return (
        f"{measured.what}; batch {report.batch}, {report.threads} CPU threads; ratio to "
        f"{measured.reference} with its 95 % interval; "
        f"noise floor (reference against itself) {floor.value:.3f} [{floor.low:.3f}, "
        f"{floor.high:.3f}]"
    )
