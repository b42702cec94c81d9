"""Prints deployments on a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from edgekit.comparison import Parity
from edgekit.devices.runtimes.pixels import PixelCheck
from edgekit.latency.statistics import Summary
from edgekit.reports.deployment import Deployment, DeployReport, Proven, show_bytes
from edgekit.reports.table import agreement_cell, parity_cells
from edgekit.reports.terminal import grid

LADDER = ("rung", "computed by", "max-abs", "SQNR dB", "top-1 agreement [95 %]", "verdict")
FLEET = (
    *("device", "bundle", "status", "runtime", "SQNR dB", "top-1 agreement [95 %]"),
    *("median ms", "p99", "s"),
)
STYLES = {"active": "green", "gate failed": "bold red", "refused": "yellow", "failed": "red"}


def render(report: DeployReport) -> Group:
    """One deployment with its ladder, or a row for each of several."""
    if len(report.rows) == 1 and report.rows[0].proven is not None:
        return one(report.rows[0])
    parts: list[Table | Text] = [fleet(report.rows)]
    if told := [row for row in report.rows if row.message]:
        parts.append(Text())
        for row in told:
            parts.append(Text.assemble((f"{row.device} {row.name}", "bold"), f" {row.message}"))
            parts += [Text(f"  {line}", style="dim") for line in (row.hint, *records(row)) if line]
    return Group(*parts)


def records(row: Deployment) -> list[str]:
    """The files about a deployment on this machine."""
    named = (("report", row.record), ("log of the device", row.log))
    return [f"{what} {path}" for what, path in named if path is not None]


def one(row: Deployment) -> Group:
    """The ladder of the bundle with one more rung for the device; then the measurements and the
    folder.
    """
    assert row.proven is not None and row.manifest is not None
    proven = row.proven
    parts: list[Table | Text] = [
        Text.assemble((row.name, "bold"), f" on {row.device}, {_machine(row)}\n"),
        ladder(row),
        Text(),
        *map(Text, latency_lines(proven)),
    ]
    if proven.audit is not None:
        shares = ", ".join(
            f"{share.layers} in {share.precision.upper()}" for share in proven.audit.shares
        )
        parts.append(Text(f"layers: {shares}; {proven.audit.reformats} reformats"))
        parts += [Text(note, style="dim") for note in proven.audit.notes]
    for advice in row.advice:
        parts.append(Text.assemble(("! ", "yellow"), advice.message))
        if advice.fix:
            parts.append(Text(f"  {advice.fix}", style="dim"))
    sent = f"{show_bytes(row.sent)} sent" if row.sent else "nothing had to be sent"
    if not row.ok:
        return Group(*parts)
    parts += [
        Text(),
        Text.assemble(
            ("active ", "bold"), f"{row.path} ({row.release}); {sent}, {row.seconds:.1f} s"
        ),
    ]
    parts += [Text(line, style="dim") for line in records(row)]
    if row.previous:
        words = shlex.join(["edgekit", "device", "rollback", row.device, row.name])
        parts.append(Text(f"  {words}", style="cyan"))
    return Group(*parts)


def ladder(row: Deployment) -> Table:
    assert row.proven is not None and row.manifest is not None
    rows = grid(LADDER, left=(0, 1, 5))
    for rung in row.manifest.parity:
        verdict = ("pass" if rung.judged else "inconclusive") if rung.passed else "fail"
        sqnr = "exact" if rung.sqnr is None else f"{rung.sqnr:.1f}"
        agreeing = round(rung.images * rung.top1_agreement)
        counted = f"{agreeing}/{rung.images}"
        agreement = agreement_cell(rung.top1_agreement, counted, rung.top1_interval)
        cells = (rung.name, rung.checked_with, f"{rung.max_abs:.1e}", sqnr, agreement, verdict)
        rows.add_row(*cells, style="dim")
    sqnr, max_abs, agreement = parity_cells(row.proven.parity)
    failed = bool(row.proven.failures)
    judged = Text("fail" if failed else "pass", style="bold red" if failed else "green")
    rows.add_row(row.device, row.runtime, max_abs, sqnr, agreement, judged)
    return rows


def latency_lines(proven: Proven) -> list[str]:
    """The measurements as text."""
    where = "GPU alone" if proven.end_to_end is not None else "latency"
    lines = [f"{where}: {_summary(proven.latency)}; batch {proven.batch}, {proven.detail}"]
    if len(proven.batches) > 1:
        sizes = ", ".join(map(str, proven.batches))
        lines.append(f"parity in batches of {sizes}; the ladder has that of {proven.batch}")
    if proven.end_to_end is not None:
        lines.append(f"with copies: {_summary(proven.end_to_end)}")
    if proven.engine_mb is not None:
        built = ", ".join(f"{seconds:.0f} s" for seconds in proven.built)
        how = "already built" if proven.reused else f"built in {built}"
        best = f", the fastest of {len(proven.built)}" if len(proven.built) > 1 else ""
        lines.append(f"engine: {proven.engine_mb:.2f} MB, {how}{best}")
    lines.append(f"resize rule: {_pixels(proven.pixels)}")
    return lines


def _pixels(check: PixelCheck) -> str:
    if check.unchecked:
        return f"not checked, because {check.unchecked}"
    if not check.differing:
        return f"Pillow {check.pillow} on the device makes the golden pixels"
    return (
        f"Pillow {check.pillow} on the device makes {check.differing} of {check.values} golden "
        f"pixel values differently, by up to {check.largest} of 255"
    )


def fleet(rows: Sequence[Deployment]) -> Table:
    """One row per device and bundle."""
    shown = grid(FLEET, left=(0, 1, 2, 3))
    for row in rows:
        parity: Parity | None = row.proven.parity if row.proven is not None else None
        sqnr, _, agreement = parity_cells(parity) if parity is not None else ("–", "–", "–")
        latency = row.proven.latency if row.proven is not None else None
        shown.add_row(
            row.device,
            row.name,
            Text(row.status, style=STYLES[row.status]),
            row.runtime,
            sqnr,
            agreement,
            "–" if latency is None else f"{latency.median:.2f}",
            "–" if latency is None else f"{latency.p99:.2f}",
            f"{row.seconds:.1f}",
        )
    return shown


def _summary(summary: Summary) -> str:
    return (
        f"median {summary.median:.2f} ms, p90 {summary.p90:.2f}, p99 {summary.p99:.2f}, "
        f"CV {summary.cv:.1%}"
    )


def _machine(row: Deployment) -> str:
    facts = row.facts
    if facts is None:
        return "unknown"
    mode = facts.jetson.power_mode if facts.jetson is not None else None
    words = (facts.machine or facts.architecture, f"power mode {mode}" if mode else None)
    return ", ".join(filter(None, words))
