"""Prints the further measurements of a bench."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from rich.table import Table as Grid
from rich.text import Text

from edgekit.latency.loadgen import ScenarioResult
from edgekit.latency.sustained import Sustained, Window
from edgekit.reports import table
from edgekit.reports.bench import BenchReport, Comparison
from edgekit.reports.terminal import grid
from edgekit.reports.window_rows import WINDOW, shown_window

ROWS = 12  # of a curve; windows are merged
Part = Grid | Text
START = ("cold start", "seconds", "of which opening", "first run ms", "peak MB", "on GPUs MB")
SETTING = ("batch and threads", "median ms", "p90", "images a second")
ENERGY = ("energy, idle power included", "counter", "J an image", "W")
CHANGE = ("compared with an earlier bench", "ms then", "ms now", "times as long as then")


def more(report: BenchReport) -> Iterator[Part]:
    """All further measurements, each part after an empty line."""
    parts: tuple[Sequence[Part], ...] = (
        _settings(report),
        _starts(report),
        _energy(report),
        *(_sustained(load) for load in report.sustained),
        *(_scenario(result) for result in report.scenarios),
        _comparison(report.comparison),
    )
    for part in parts:
        if part:
            yield Text()
            yield from part


def _settings(report: BenchReport) -> list[Part]:
    if not report.settings:
        return []
    rows = grid(SETTING, left=(0,))
    for s in report.settings:
        rows.add_row(
            f"{s.name}, batch {s.batch}, {s.threads} threads",
            table.milliseconds(s.summary.median),
            table.milliseconds(s.summary.p90),
            f"{s.images_per_second:.1f}",
        )
    return [rows]


def _starts(report: BenchReport) -> list[Part]:
    if not report.starts:
        return []
    rows = grid(START, left=(0,))
    for s in report.starts:
        rows.add_row(
            s.name,
            f"{s.seconds:.2f}",
            f"{s.load_seconds:.2f}",
            table.milliseconds(s.first_ms),
            f"{s.peak_megabytes:.0f}",
            "–" if s.device_megabytes is None else f"{s.device_megabytes:.0f}",
        )
    note = f"medians of {len(report.starts[0].each)} processes; files may be in the system's cache"
    return [rows, Text(note, style="dim")]


def _energy(report: BenchReport) -> list[Part]:
    if not report.energy:
        return []
    rows = grid(ENERGY, left=(0, 1))
    for e in report.energy:
        rows.add_row(e.name, e.source, f"{e.joules_per_image:.4f}", f"{e.watts:.1f}")
    return [rows]


def _sustained(load: Sustained) -> list[Part]:
    rows = grid((f"{load.name} under load, from", *WINDOW[1:]), left=(0, 7))
    for window in _fewer(load.windows):
        rows.add_row(*shown_window(window))
    lines = [
        f"latency in the last quarter against the first: {table.ratio(load.change)}",
        f"held down by {', '.join(load.throttled)}" if load.throttled else "",
        f"this machine does not report: {', '.join(load.unread)}" if load.unread else "",
    ]
    return [rows, *(Text(line, style="dim") for line in lines if line)]


def _fewer(windows: Sequence[Window]) -> Iterator[Window]:
    """At most twelve windows: neighbours are merged, with the median of their medians and the worst
    of the other values.
    """
    size = -(-len(windows) // ROWS)
    for at in range(0, len(windows), size):
        part = windows[at : at + size]
        clocks = [w.cpu_mhz for w in part if w.cpu_mhz is not None]
        gpu = [w.gpu_mhz for w in part if w.gpu_mhz is not None]
        heat = [w.temperature for w in part if w.temperature is not None]
        power = [w.power for w in part if w.power is not None]
        yield Window(
            start=part[0].start,
            runs=sum(w.runs for w in part),
            median=median(w.median for w in part),
            p99=max(w.p99 for w in part),
            cpu_mhz=min(clocks) if clocks else None,
            gpu_mhz=min(gpu) if gpu else None,
            temperature=max(heat) if heat else None,
            power=max(power) if power else None,
            throttled=tuple(dict.fromkeys(cause for w in part for cause in w.throttled)),
        )


def _scenario(result: ScenarioResult) -> list[Part]:
    scenario = result.scenario
    verdict = Text("valid", "green") if result.valid else Text("not valid", "bold red")
    head = Text.assemble(
        (f"{scenario.name}, {result.name}: ", "bold"), metric(result), ", ", verdict
    )
    latencies = ", ".join(f"{k} {table.milliseconds(v)}" for k, v in result.latencies.items())
    lines = [
        f"{result.queries:,} queries; ms: {latencies}",
        *(f"LoadGen: {line}" for line in (*result.why_not, *result.early_stopping)),
    ]
    if result.shorter:
        lines.append(f"not a result by the rules of MLPerf: {', '.join(result.shorter)}")
    return [head, *(Text(f"  {line}", style="dim") for line in lines)]


def metric(result: ScenarioResult) -> str:
    """The main figure of a scenario as text."""
    scenario = result.scenario
    if scenario.name == "single-stream":
        if result.metric is None:
            return "too few queries for an estimate of the 90th percentile"
        return f"90th percentile at most {table.milliseconds(result.metric)} ms"
    rate = f"{result.metric:.1f} images a second"
    if scenario.name == "offline":
        return rate
    return (
        f"{rate} of {scenario.qps:g} requested, {result.over_bound} of {result.queries:,} queries "
        f"over {scenario.latency_bound:g} ms"
    )


def _comparison(comparison: Comparison | None) -> list[Part]:
    if comparison is None:
        return []
    rows = grid(CHANGE, left=(0, 3))
    for c in comparison.changes:
        versions = "" if c.versions[0] == c.versions[1] else f", {c.versions[0]} → {c.versions[1]}"
        style = "bold red" if c.verdict == "regression" else ""
        rows.add_row(
            f"{c.name}, {c.what.partition(':')[0]}{versions}",
            table.milliseconds(c.before),
            table.milliseconds(c.now),
            Text.assemble(f"{table.interval(c.ratio)} ", (c.verdict, style)),
        )
    lines = [
        f"{comparison.source}, {comparison.created or 'time unknown'}; a regression is slower by "
        f"more than {comparison.tolerance:.1%} with its whole 95 % interval",
        *(f"another machine: {fact}" for fact in comparison.machine),
        *(f"not measured before: {name}" for name in comparison.left_out),
    ]
    return [rows, *(Text(line, style="dim") for line in lines)]
