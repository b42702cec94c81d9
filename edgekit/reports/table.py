"""The numbers of a report as text, the same for the terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekit.bundle.manifest import CalibrationEntry, KeptEntry, WeightsEntry
from edgekit.comparison import Parity, Rung
from edgekit.latency.statistics import Ratio
from edgekit.machine.environment import Environment, Snapshot
from edgekit.reports.document import Latency, LatencyRow

LADDER = ("rung", "seconds", "MB", "max-abs", "SQNR dB", "top-1 agreement [95 %]", "verdict")
LATENCY = ("latency", "median ms", "p90", "p99", "CV", "times as long as reference")


PROOF = ("parity with the golden images", "SQNR dB", "max-abs", "top-1 agreement [95 %]", "")


def weights_text(weights: WeightsEntry) -> str:
    """The file of the weights, else where they come from."""
    if not weights.trained:
        return f"random, seed {weights.seed}"
    own = {"factory": "as the factory built them", "module": "those of the module"}
    return weights.file or own.get(weights.source, weights.source)


def ladder_row(rung: Rung) -> tuple[str, ...]:
    size = "–" if rung.megabytes is None else f"{rung.megabytes:.2f}"
    if rung.parity is None:
        return (rung.name, f"{rung.seconds:.1f}", size, "–", "–", "–", rung.verdict)
    sqnr, max_abs, agreement = parity_cells(rung.parity)
    return (rung.name, f"{rung.seconds:.1f}", size, max_abs, sqnr, agreement, rung.verdict)


def parity_cells(p: Parity) -> tuple[str, str, str]:
    """SQNR, max-abs, and top-1 agreement with its count and its 95 % interval in percent."""
    sqnr = "exact" if math.isinf(p.sqnr) and p.sqnr > 0 else f"{p.sqnr:.1f}"
    ties = "" if not p.ties else f", {p.ties} tie" if p.ties == 1 else f", {p.ties} ties"
    counted = f"{p.agreeing}/{p.images}{ties}"
    return sqnr, f"{p.max_abs:.1e}", agreement_cell(p.top1, counted, p.interval)


def agreement_cell(share: float, counted: str, interval: tuple[float, float]) -> str:
    """An agreement with its count and its interval in percent."""
    low, high = interval
    return f"{share:.1%} ({counted}) [{100 * low:.1f}, {100 * high:.1f}]"


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


def milliseconds(value: float) -> str:
    return f"{value:.2f}" if value >= 10 else f"{value:.3f}"


def ratio(value: Ratio) -> str:
    verdict = "faster" if value.faster else "slower" if value.slower else "no difference shown"
    return f"{interval(value)} {verdict}"


def interval(value: Ratio) -> str:
    return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"


def latency_caption(latency: Latency) -> str:
    floor = latency.noise_floor
    return (
        f"batch {latency.batch}, {latency.threads} CPU threads, ratio to {latency.reference} with "
        f"its 95 % interval; "
        f"noise floor (reference against itself) {floor.value:.2f} [{floor.low:.2f}, "
        f"{floor.high:.2f}]"
    )


def caveat_lines(ladder: Sequence[Rung]) -> list[str]:
    """The caveats of the gates; equal ones of several rungs are merged."""
    rungs: dict[str, list[str]] = {}
    for rung in ladder:
        if rung.caveat is not None:
            rungs.setdefault(rung.caveat, []).append(rung.name)
    return [f"{', '.join(names)}: {caveat}" for caveat, names in rungs.items()]


def calibration_lines(calibration: CalibrationEntry, kept: Sequence[KeptEntry]) -> list[str]:
    """The calibration, selection and test photos of an INT8 export."""
    photos = (
        "images of random noise" if calibration.random else f"photos ({calibration.images.source})"
    )
    choosing, judging = calibration.choosing, calibration.judging
    minutes = calibration.recovery
    recovered = "" if minutes is None else f", recovery {minutes:g} min"
    few = "" if calibration.judged else ", too few to pass the gate"
    lines = [
        f"calibration: {calibration.images.count} {photos}; ranges {calibration.calibrator}, "
        f"rounding {calibration.rounding}{recovered}",
        f"selection: {choosing.count} photos ({choosing.source}); on them SQNR "
        f"{calibration.sqnr:.1f} dB, top-1 agreement {calibration.agreement:.1%}",
        f"test: {judging.count} photos ({judging.source}), used for nothing else{few}",
    ]
    return lines + [f"float: {entry.name} – {entry.reason}" for entry in kept]


def environment_lines(environment: Environment) -> list[str]:
    """The machine in a few lines, without unknown facts."""
    cpu = environment.cpu
    where = ", ".join(
        filter(None, (environment.container, "virtual machine" if environment.virtual else None))
    )
    limits = f" of {cpu.cores}" if len(cpu.affinity) != cpu.cores else ""
    lines = [
        f"machine   {environment.machine or 'unknown'}" + (f" ({where})" if where else ""),
        f"cpu       {cpu.model or cpu.architecture}, {len(cpu.affinity)}{limits} cores: "
        f"{' '.join(cpu.flags) or 'no SIMD flags reported'}",
        f"system    {environment.os or 'unknown'}, kernel {environment.kernel or 'unknown'}, "
        f"Python {environment.python}",
    ]
    if environment.memory_mb:
        lines.append(f"memory    {environment.memory_mb / 1000:.1f} GB")
    if (jetson := environment.jetson) is not None:
        locked = {True: ", GPU clock locked", False: ", GPU clock not locked", None: ""}[
            jetson.gpu_clock_locked
        ]
        lines.append(
            f"jetson    L4T {jetson.l4t}, power mode {jetson.power_mode or 'unknown'}{locked}"
        )
    for gpu in environment.gpus:
        sm = f", sm_{gpu.compute_capability.replace('.', '')}" if gpu.compute_capability else ""
        memory = f", {gpu.memory_mb / 1000:.1f} GB" if gpu.memory_mb else ""
        lines.append(f"gpu       {gpu.name}{sm}{memory}, driver {gpu.driver}")
    return lines


def clock_lines(environment: Environment) -> list[str]:
    """Clocks, load and temperatures before and after a measurement, without unknown ones."""
    moments = [("before", environment.before), ("after", environment.after)]
    return [
        f"{name:<10}{', '.join(told)}"
        for name, moment in moments
        if moment is not None and (told := _moment(moment))
    ]


def _moment(now: Snapshot) -> list[str]:
    told = [f"CPU {min(now.cpu_mhz)} to {max(now.cpu_mhz)} MHz"] if now.cpu_mhz else []
    for index, gpu in enumerate(now.gpus):
        told += [f"GPU {index} {gpu.sm_mhz} MHz"] if gpu.sm_mhz is not None else []
        told += [f"GPU {index} {gpu.temperature:g} °C"] if gpu.temperature is not None else []
        told += [f"GPU {index} held by {', '.join(gpu.throttled)}"] if gpu.throttled else []
    if now.jetson is not None and now.jetson.gpu_mhz is not None:
        told.append(f"GPU {now.jetson.gpu_mhz} MHz")
    return told + ([f"load {now.load:g}"] if now.load is not None else [])
