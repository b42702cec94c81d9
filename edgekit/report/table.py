"""The numbers of a report in words, the same for the terminal and for markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekit.bench.environment import Environment
from edgekit.bench.statistics import Ratio
from edgekit.manifest import CalibrationEntry, KeptEntry
from edgekit.parity import Rung
from edgekit.report.document import Latency, LatencyRow

LADDER = ("rung", "seconds", "MB", "max-abs", "SQNR dB", "top-1 agreement", "verdict")
LATENCY = ("latency", "median ms", "p90", "p99", "CV", "times as long as reference")


def ladder_row(rung: Rung) -> tuple[str, ...]:
    size = "–" if rung.megabytes is None else f"{rung.megabytes:.2f}"
    if rung.parity is None:
        return (rung.name, f"{rung.seconds:.1f}", size, "–", "–", "–", rung.verdict)
    p = rung.parity
    sqnr = "exact" if math.isinf(p.sqnr) and p.sqnr > 0 else f"{p.sqnr:.1f}"
    ties = "" if not p.ties else f", {p.ties} tie" if p.ties == 1 else f", {p.ties} ties"
    agreement = f"{p.top1:.1%} ({p.agreeing}/{p.images}{ties})"
    return (rung.name, f"{rung.seconds:.1f}", size, f"{p.max_abs:.1e}", sqnr, agreement, rung.verdict)


def latency_row(row: LatencyRow) -> tuple[str, ...]:
    s = row.summary
    return (
        row.name,
        f"{s.median:.2f}",
        f"{s.p90:.2f}",
        f"{s.p99:.2f}",
        f"{s.cv:.0%}",
        "reference" if row.ratio is None else ratio(row.ratio),
    )


def ratio(value: Ratio) -> str:
    verdict = "faster" if value.faster else "slower" if value.slower else "no difference shown"
    return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}] {verdict}"


def latency_caption(latency: Latency) -> str:
    floor = latency.noise_floor
    return (
        f"batch {latency.batch}, {latency.threads} CPU threads, ratio to {latency.reference} with its 95 % interval; "
        f"noise floor (reference against itself) {floor.value:.2f} [{floor.low:.2f}, {floor.high:.2f}]"
    )


def calibration_lines(calibration: CalibrationEntry, kept: Sequence[KeptEntry]) -> list[str]:
    """How INT8 came about and what it reached on photos it was not fitted to."""
    photos = "images of random noise" if calibration.random else f"photos ({calibration.images.source})"
    lines = [
        f"calibrated on {calibration.images.count} {photos}; ranges {calibration.calibrator}, rounding {calibration.rounding}",
        f"on {calibration.held_out} of them that nothing was fitted to: SQNR {calibration.sqnr:.1f} dB, top-1 agreement {calibration.agreement:.1%}",
    ]
    return lines + [f"float: {entry.name} – {entry.reason}" for entry in kept]


def environment_lines(environment: Environment) -> list[str]:
    """The machine in a few lines; what it does not tell is left out."""
    cpu = environment.cpu
    where = ", ".join(filter(None, (environment.container, "virtual machine" if environment.virtual else None)))
    limits = f" of {cpu.cores}" if len(cpu.affinity) != cpu.cores else ""
    lines = [
        f"machine   {environment.machine or 'unknown'}" + (f" ({where})" if where else ""),
        f"cpu       {cpu.model or cpu.architecture}, {len(cpu.affinity)}{limits} cores: {' '.join(cpu.flags) or 'no SIMD flags told'}",
        f"system    {environment.os or 'unknown'}, kernel {environment.kernel or 'unknown'}, Python {environment.python}",
    ]
    if environment.memory_mb:
        lines.append(f"memory    {environment.memory_mb / 1000:.1f} GB")
    if environment.jetson is not None:
        lines.append(f"jetson    {environment.jetson}")
    lines += [f"gpu       {gpu}" for gpu in environment.gpus]
    return lines
