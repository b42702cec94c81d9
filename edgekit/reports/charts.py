"""The pictures of a summary, each with a table of its numbers: parity, latency, accuracy against
cost, the INT8 layers, and learning curves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.reports import drawing, table
from edgekit.reports.drawing import Point, shown_gain, shown_ms, shown_sqnr
from edgekit.reports.learning import sketch_learning
from edgekit.reports.load_charts import sketch_loads
from edgekit.reports.summary import GOLDEN, Entry, Step, SummaryReport, Timings
from edgekit.reports.svg import inline, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOP_LAYERS = 20
SQNR_STEPS, AGREEMENT_STEPS = (10, 20, 30, 40, 60), (0.8, 0.9, 0.95, 0.99, 1.0)
_Sketch = tuple[str, str, str, "Figure", tuple[str, ...], tuple[tuple[str, ...], ...]]


@dataclass(frozen=True)
class Chart:
    """``svg`` shows the numbers of ``rows`` with ``headers``; ``description`` explains it."""

    section: str
    title: str
    description: str
    svg: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def draw_charts(report: SummaryReport) -> tuple[Chart, ...]:
    """All pictures that the report has numbers for.

    Raises:
        ImportError: Matplotlib is not installed.
    """
    with plotting():
        sketches = (
            *_heat_maps(report.entries),
            *_latencies(report.timings),
            *sketch_loads(report.loads),
            *_fronts(report.entries),
            *_sensitivities(report.entries),
            *sketch_learning({each.name: each.learning for each in report.trainings}),
        )
        return tuple(
            Chart(
                *(section, title, description),
                inline(figure, f"chart{place}", f"{section}: {title}", description),
                *(headers, rows),
            )
            for place, (section, title, description, figure, headers, rows) in enumerate(sketches)
        )


# ---- parity


def _heat_maps(entries: Sequence[Entry]) -> Iterator[_Sketch]:
    names = dict.fromkeys(step.name for entry in entries for step in entry.steps)
    columns = tuple(sorted(names, key=lambda name: name.startswith(GOLDEN)))  # else as made
    if not columns:
        return
    ways: tuple[tuple[str, str, Callable[[Step], tuple[float, str]], tuple[float, ...]], ...] = (
        ("SQNR, dB", "Higher is nearer to the original.", _sqnr_cell, SQNR_STEPS),
        ("Top-1 agreement, %", "Photos with the same first class.", _share_cell, AGREEMENT_STEPS),
    )
    for title, meaning, cell, levels in ways:
        cells = {}
        for row, entry in enumerate(entries):
            for step in entry.steps:
                value, text = cell(step)
                level = sum(value >= least for least in levels)
                cells[row, columns.index(step.name)] = (level, text, step.verdict == "fail")
        yield (
            "parity",
            title,
            f"{meaning} One row per network, the worst first; one column per rung. A cross "
            "marks a gate that was not met.",
            drawing.heat_map([entry.label for entry in entries], columns, cells),
            ("network", *columns),
            tuple(
                (
                    entry.label,
                    *(cells.get((row, at), (0, "–", False))[1] for at in range(len(columns))),
                )
                for row, entry in enumerate(entries)
            ),
        )


def _sqnr_cell(step: Step) -> tuple[float, str]:
    return (-math.inf if math.isnan(step.sqnr) else step.sqnr), shown_sqnr(step.sqnr)


def _share_cell(step: Step) -> tuple[float, str]:
    return step.agreement, f"{100 * step.agreement:.1f}"


# ---- latency


def _latencies(timings: Sequence[Timings]) -> Iterator[_Sketch]:
    for timing in timings:
        floor = timing.noise_floor
        yield (
            "latency",
            timing.title,
            f"{timing.what[:1].upper()}{timing.what[1:]}; batch {timing.batch}, {timing.threads} "
            f"CPU threads. Left: the median, with a line to p90. Right: the latency as a multiple "
            f"of {timing.reference}, with its 95 % interval; an interval around 1 shows no "
            f"difference. The reference compared with itself: {floor.value:.2f} [{floor.low:.2f}, "
            f"{floor.high:.2f}].",
            drawing.bars(timing),
            ("", *table.LATENCY[1:]),
            latency_rows(timing),
        )


def latency_rows(timing: Timings) -> tuple[tuple[str, ...], ...]:
    """One row per candidate, with the titles of :data:`table.LATENCY`."""
    rows = []
    for row in timing.rows:
        s, compared = row.summary, "–"
        if row.ratio is not None:
            compared = table.ratio(row.ratio)
        elif row.name in timing.failed:
            compared = "parity failed"
        elif row.name == timing.reference:
            compared = "reference"
        times = map(shown_ms, (s.median, s.p90, s.p99))
        rows.append((row.name, *times, f"{s.cv:.0%}", compared))
    return tuple(rows)


# ---- what is worth its time and its size


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The indices of the points that no other point beats in both cost (lower is better) and worth
    (higher is better).
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    best, kept = -math.inf, []
    for place in order:
        if points[place][1] > best:
            best = points[place][1]
            kept.append(place)
    return kept


def _fronts(entries: Sequence[Entry]) -> Iterator[_Sketch]:
    """A published top-1 and a measured agreement cannot be compared, and neither can top-1 on two
    data sets. Each has its own pictures.
    """
    groups: dict[tuple[str, str], list[tuple[Entry, float]]] = {}
    for entry in entries:
        if entry.published is not None:
            group = (
                f"top-1 on {entry.published.dataset}, %",
                "as published for the FP32 network; the loss of a lower precision is only in "
                "the agreement",
            )
            groups.setdefault(group, []).append((entry, entry.published.top1))
        elif entry.decisive is not None:
            group = (
                "top-1 agreement, %",
                "with the original network, as measured; this is not accuracy",
            )
            groups.setdefault(group, []).append((entry, 100 * entry.decisive.agreement))
    for (worth, how), members in groups.items():
        for cost, unit in (("latency", "ms"), ("file size", "MB")):
            points = [
                Point(entry.label, value, height, entry.verdict == "fail")
                for entry, height in members
                if (value := _cost(entry, cost)) is not None
            ]
            if points:
                yield _front(points, worth, how, cost, unit)


def _cost(entry: Entry, cost: str) -> float | None:
    if cost == "file size":
        return entry.megabytes
    return entry.latency.median if entry.latency is not None else None


def _front(points: Sequence[Point], worth: str, how: str, cost: str, unit: str) -> _Sketch:
    sound = [point for point in points if not point.failed]
    best = [sound[place].label for place in front([(p.cost, p.worth) for p in sound])]
    name = worth.partition(",")[0]
    return (
        "what it costs",
        f"{name[0].upper()}{name[1:]} against {cost}",
        f"{name[0].upper()}{name[1:]} {how}. Up and to the left is better. The line joins networks "
        "that no other one beats in both. A cross marks a failed gate; it is not on the line.",
        drawing.pareto(points, frozenset(best), worth, f"{cost}, {unit}"),
        ("network", f"{cost}, {unit}", worth, "on the line"),
        tuple(
            (p.label, shown_ms(p.cost), f"{p.worth:.1f}", "yes" if p.label in best else "no")
            for p in sorted(points, key=lambda point: point.cost)
        ),
    )


# ---- INT8, layer by layer


def _sensitivities(entries: Sequence[Entry]) -> Iterator[_Sketch]:
    for entry in entries:
        if entry.sensitivity is None or not entry.sensitivity.layers:
            continue
        costs, base = entry.sensitivity, entry.sensitivity.all_int8.sqnr
        rows = [(row.layer, row.alone_float.sqnr - base, row.macs_share) for row in costs.layers]
        rows.sort(key=lambda row: row[1] if math.isfinite(row[1]) else math.inf, reverse=True)
        rows = rows[:TOP_LAYERS]
        yield (
            "sensitivity",
            entry.label,
            f"The gain in SQNR if only this layer stays in float; with all layers in INT8 "
            f"it is {shown_sqnr(base)} dB. The {len(rows)} costliest of {len(costs.layers)} "
            f"layers.",
            drawing.layers([(name, gain) for name, gain, _ in rows]),
            ("layer", "gain, dB", "of MACs"),
            tuple((name, shown_gain(gain), f"{share:.1%}") for name, gain, share in rows),
        )
