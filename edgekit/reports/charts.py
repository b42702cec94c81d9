"""The pictures of a summary, each with its numbers as a table: parity, latency, what is worth its
time and size, what INT8 costs layer by layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.reports import table
from edgekit.reports.summary import Entry, Step, SummaryReport, Timings
from edgekit.reports.svg import COLOURS, drawing, inline, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOP_LAYERS, MANY_POINTS, LONGEST_LABEL = 20, 14, 38
SQNR_STEPS, AGREEMENT_STEPS = (10, 20, 30, 40, 60), (0.8, 0.9, 0.95, 0.99, 1.0)
WIDTH, LETTER, ROW = 6.6, 0.078, 0.3  # inches


@dataclass(frozen=True)
class Chart:
    """``svg`` shows what ``rows`` says under ``headers``; ``description`` says what to see."""

    section: str
    title: str
    description: str
    svg: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def draw_charts(report: SummaryReport) -> tuple[Chart, ...]:
    """Every picture that the report has numbers for.

    Raises:
        ImportError: Matplotlib is not installed.
    """
    with drawing():
        return (
            *_heat_maps(report.entries),
            *_latencies(report.timings),
            *_fronts(report.entries),
            *_sensitivities(report.entries),
        )


def short(text: str, most: int = LONGEST_LABEL) -> str:
    """A label that fits: its middle gives way."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def shown_sqnr(sqnr: float) -> str:
    return "exact" if sqnr == math.inf else "–" if math.isnan(sqnr) else f"{sqnr:.1f}"


def shown_ms(value: float) -> str:
    return f"{value:.1f}" if value >= 100 else f"{value:.2f}" if value >= 10 else f"{value:.3f}"


# ---- parity


def _heat_maps(entries: Sequence[Entry]) -> Iterator[Chart]:
    columns = tuple(dict.fromkeys(step.name for entry in entries for step in entry.steps))
    if not columns:
        return
    ways: tuple[tuple[str, str, Callable[[Step], tuple[float, str]], tuple[float, ...]], ...] = (
        ("SQNR", "dB; higher is nearer to the original", _sqnr_cell, SQNR_STEPS),
        ("Top-1 agreement", "% of the photos; 100 is best", _agreement_cell, AGREEMENT_STEPS),
    )
    for place, (name, unit, cell, levels) in enumerate(ways):
        cells = {
            (row, column): (_level(cell(step)[0], levels), cell(step)[1], step.verdict == "fail")
            for row, entry in enumerate(entries)
            for column, title in enumerate(columns)
            for step in entry.steps
            if step.name == title
        }
        yield Chart(
            "parity",
            name,
            f"{name} in {unit}. A row a network, a column a rung; the worst row is the first. "
            "A cross marks a gate that was not met.",
            _heat_map(f"heat{place}", f"{name} of every rung", entries, columns, cells),
            ("network", *columns),
            tuple(
                (entry.label, *(cells.get((row, c), (0, "–", False))[1] for c in range(len(columns))))
                for row, entry in enumerate(entries)
            ),
        )


def _sqnr_cell(step: Step) -> tuple[float, str]:
    return (-math.inf if math.isnan(step.sqnr) else step.sqnr), shown_sqnr(step.sqnr)


def _agreement_cell(step: Step) -> tuple[float, str]:
    return step.agreement, f"{100 * step.agreement:.1f}"


def _level(value: float, levels: tuple[float, ...]) -> int:
    return sum(value >= level for level in levels)


def _heat_map(
    key: str,
    title: str,
    entries: Sequence[Entry],
    columns: Sequence[str],
    cells: dict[tuple[int, int], tuple[int, str, bool]],
) -> str:
    from matplotlib.patches import Rectangle

    names = [short(entry.label) for entry in entries]
    left, cell = LETTER * max(map(len, names)) + 0.15, 0.66
    top = 0.62 * LETTER * min(max(map(len, columns)), LONGEST_LABEL) + 0.28
    right = 0.75 * LETTER * len(short(columns[-1]))
    width, height = left + cell * len(columns) + right, top + ROW * len(names) + 0.05
    figure = new_figure(width, height)
    axes = figure.add_axes(
        (left / width, 0.05 / height, cell * len(columns) / width, ROW * len(names) / height)
    )
    axes.set(xlim=(0, len(columns)), ylim=(len(names), 0))
    axes.axis("off")
    for row, name in enumerate(names):
        axes.text(-0.12, row + 0.5, name, ha="right", va="center")
    for column, name in enumerate(columns):
        axes.text(
            *(column + 0.4, -0.25, short(name)),
            rotation=38,
            rotation_mode="anchor",
            color=COLOURS["muted"],
            size=9,
        )
    for (row, column), (level, text, failed) in cells.items():
        axes.add_patch(
            Rectangle((column + 0.02, row + 0.05), 0.96, 0.9, color=COLOURS[f"heat-{level}"], lw=0)
        )
        axes.text(
            *(column + 0.5, row + 0.52, f"✕ {text}" if failed else text),
            ha="center",
            va="center",
            size=9,
            color=COLOURS[f"heat-ink-{level}"],
            weight="bold" if failed else "normal",
        )
    return inline(figure, key, title, "The same numbers follow as a table.")


# ---- latency


def _latencies(timings: Sequence[Timings]) -> Iterator[Chart]:
    for place, timing in enumerate(timings):
        floor = timing.noise_floor
        yield Chart(
            "latency",
            timing.title,
            f"{timing.what}; batch {timing.batch}, {timing.threads} CPU threads. Left: the median, "
            f"with a line to p90. Right: how many times as long as {timing.reference}, with the "
            f"95 % interval; where it reaches over 1, no difference was shown. The reference "
            f"against itself: {floor.value:.2f} [{floor.low:.2f}, {floor.high:.2f}].",
            _bars(f"latency{place}", timing),
            table.LATENCY,
            tuple(_latency_row(row.name, timing) for row in timing.rows),
        )


def _latency_row(name: str, timing: Timings) -> tuple[str, ...]:
    row = next(row for row in timing.rows if row.name == name)
    s = row.summary
    compared = "parity failed" if name in timing.failed else "–"
    if row.ratio is not None:
        compared = table.ratio(row.ratio)
    elif name == timing.reference:
        compared = "reference"
    return (name, shown_ms(s.median), shown_ms(s.p90), shown_ms(s.p99), f"{s.cv:.1%}", compared)


def _bars(key: str, timing: Timings) -> str:
    names = [short(row.name, 30) for row in timing.rows]
    left = LETTER * max(map(len, names)) + 0.2
    height = ROW * len(names) + 0.55
    bottom, tall = 0.5 / height, ROW * len(names) / height
    figure = new_figure(WIDTH, height)
    room = WIDTH - left
    bars = figure.add_axes((left / WIDTH, bottom, room * 0.52 / WIDTH, tall))
    ratios = figure.add_axes(
        ((left + room * 0.64) / WIDTH, bottom, room * 0.34 / WIDTH, tall), sharey=bars
    )
    for place, row in enumerate(timing.rows):
        median, p90 = row.summary.median, row.summary.p90
        colour = COLOURS["soft" if row.name == timing.reference else "accent"]
        bars.barh(place, median, height=0.56, color=colour)
        bars.plot([median, max(p90, median)], [place, place], color=COLOURS["muted"], lw=1)
        bars.annotate(
            *(shown_ms(median), (max(p90, median), place)),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            size=9,
        )
        if row.ratio is not None:
            ratios.plot([row.ratio.low, row.ratio.high], [place, place], color=colour, lw=2)
            ratios.plot([row.ratio.value], [place], "o", color=colour, ms=5)
        else:
            text = "parity failed" if row.name in timing.failed else "reference"
            ratios.text(
                *(0.02, place, text),
                va="center",
                size=9,
                color=COLOURS["muted"],
                transform=ratios.get_yaxis_transform(),
            )
    bars.set_yticks(range(len(names)), names)
    bars.set_ylim(len(names) - 0.5, -0.5)
    bars.set_xlim(0, 1.22 * max(max(r.summary.p90, r.summary.median) for r in timing.rows) or 1)
    bars.set_xlabel("ms, median")
    ratios.axvline(1, color=COLOURS["muted"], lw=0.8, ls=(0, (3, 3)))
    reach = max((r.ratio.high for r in timing.rows if r.ratio is not None), default=1.0)
    ratios.set_xlim(0, 1.08 * max(reach, 1.15))
    ratios.set_xlabel(f"times {short(timing.reference, 20)}")
    ratios.tick_params(left=False, labelleft=False)
    for axes in (bars, ratios):
        _calm(axes)
    return inline(
        figure, key, f"Latency, {timing.title}", "The same numbers follow as a table."
    )


def _calm(axes: Axes) -> None:
    """Few ticks, and no line at the left."""
    from matplotlib.ticker import MaxNLocator

    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.grid(visible=True)
    axes.set_axisbelow(True)


# ---- what is worth its time and its size


@dataclass(frozen=True)
class _Point:
    entry: Entry
    cost: float
    worth: float


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The places of the points that none other beats in both: cost (less is better) and worth
    (more).
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    best, kept = -math.inf, []
    for place in order:
        if points[place][1] > best:
            best = points[place][1]
            kept.append(place)
    return kept


def _fronts(entries: Sequence[Entry]) -> Iterator[Chart]:
    groups: dict[tuple[str, str], list[tuple[Entry, float]]] = {}
    for entry in entries:
        if entry.published is not None:
            group = (f"top-1 on {entry.published.dataset}, %", "as published for the FP32 network")
            groups.setdefault(group, []).append((entry, entry.published.top1))
        elif entry.decisive is not None:
            group = ("top-1 agreement, %", "as measured against the original")
            groups.setdefault(group, []).append((entry, 100 * entry.decisive.agreement))
    place = 0
    for (worth, how), members in groups.items():
        for cost, unit in (("latency", "ms"), ("file size", "MB")):
            points = [
                _Point(entry, value, height)
                for entry, height in members
                if (value := _cost(entry, cost)) is not None
            ]
            if not points:
                continue
            title = f"{worth.partition(',')[0]} against {cost}"
            ours = [p for p in points if p.entry.verdict != "fail"]
            best = [ours[i].entry.label for i in front([(p.cost, p.worth) for p in ours])]
            yield Chart(
                "pareto",
                title[0].upper() + title[1:],
                f"{worth.capitalize()} {how}; {cost} in {unit}. Up and to the left is better. The "
                "line joins what nothing else beats in both; what failed a gate is a cross, and not "
                "on it. "
                + (
                    "What a lower precision loses is not in a published number: see the agreement."
                    if "published" in how
                    else "An agreement says how much of the original is kept, not how good that is."
                ),
                _front(f"pareto{place}", title, points, set(best), worth, f"{cost}, {unit}"),
                ("network", f"{cost}, {unit}", worth, "on the line"),
                tuple(
                    (
                        p.entry.label,
                        shown_ms(p.cost),
                        f"{p.worth:.1f}",
                        "yes" if p.entry.label in best else "no",
                    )
                    for p in sorted(points, key=lambda p: p.cost)
                ),
            )
            place += 1


def _cost(entry: Entry, cost: str) -> float | None:
    if cost == "file size":
        return entry.megabytes
    return entry.latency.median if entry.latency is not None else None


def _front(
    key: str, title: str, points: Sequence[_Point], best: set[str], worth: str, cost: str
) -> str:
    figure = new_figure(WIDTH, 3.3)
    axes = figure.add_axes((0.1, 0.16, 0.86, 0.78))
    lowest, highest = (f(p.cost for p in points) for f in (min, max))
    if lowest > 0 and highest > 20 * lowest:
        axes.set_xscale("log")
        axes.set_xlim(lowest / 1.5, highest * 1.5)
    else:
        axes.set_xlim(0, 1.12 * highest or 1)
    line = sorted((p for p in points if p.entry.label in best), key=lambda p: p.cost)
    axes.step(
        *([p.cost for p in line], [p.worth for p in line]),
        where="post",
        color=COLOURS["accent"],
        lw=1.4,
        alpha=0.6,
    )
    for point in points:
        failed, kept = point.entry.verdict == "fail", point.entry.label in best
        colour = COLOURS["fail" if failed else "accent" if kept else "muted"]
        axes.plot(point.cost, point.worth, "x" if failed else "o", color=colour, ms=6)
    worths = [p.worth for p in points]
    room = max(0.25 * (max(worths) - min(worths)), 1.0)
    axes.set_ylim(min(worths) - room, max(worths) + room)
    _label(axes, [p for p in points if len(points) <= MANY_POINTS or p.entry.label in best])
    axes.set_xlabel(cost)
    axes.set_ylabel(worth)
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    return inline(figure, key, title, "The same numbers follow as a table.")


def _label(axes: Axes, points: Sequence[_Point]) -> None:
    """A name beside every point, on the side where there is room; neighbours above and below in
    turn.
    """
    for place, point in enumerate(sorted(points, key=lambda p: p.cost)):
        x = axes.transAxes.inverted().transform(axes.transData.transform((point.cost, 0)))[0]
        axes.annotate(
            *(short(point.entry.label, 28), (point.cost, point.worth)),
            xytext=(-7 if x > 0.55 else 7, 8 if place % 2 else -11),
            textcoords="offset points",
            ha="right" if x > 0.55 else "left",
            va="center",
            size=9,
        )


# ---- INT8, layer by layer


def _sensitivities(entries: Sequence[Entry]) -> Iterator[Chart]:
    for place, entry in enumerate(entries):
        if entry.sensitivity is None or not entry.sensitivity.layers:
            continue
        costs, base = entry.sensitivity, entry.sensitivity.all_int8.sqnr
        rows = [(r.layer, r.alone_float.sqnr - base, r.macs_share) for r in costs.layers]
        rows.sort(key=lambda row: (math.isfinite(row[1]), -row[1] if math.isfinite(row[1]) else 0))
        rows = rows[:TOP_LAYERS]
        yield Chart(
            "sensitivity",
            entry.label,
            f"What the network gains in SQNR when one layer alone returns to float; all in INT8 it "
            f"has {shown_sqnr(base)} dB. The {len(rows)} costliest of {len(costs.layers)} layers.",
            _layers(f"sensitivity{place}", entry.label, rows),
            ("layer", "gain, dB", "of MACs"),
            tuple((name, _gain(gain), f"{share:.1%}") for name, gain, share in rows),
        )


def _gain(gain: float) -> str:
    return f"{gain:+.2f}" if math.isfinite(gain) else "no error left"


def _layers(key: str, label: str, rows: Sequence[tuple[str, float, float]]) -> str:
    names = [short(name) for name, _, _ in rows]
    left, height = LETTER * max(map(len, names)) + 0.2, ROW * len(names) + 0.55
    figure = new_figure(WIDTH, height)
    axes = figure.add_axes(
        (left / WIDTH, 0.5 / height, (WIDTH - left - 0.3) / WIDTH, ROW * len(names) / height)
    )
    for place, (_, gain, _) in enumerate(rows):
        length = gain if math.isfinite(gain) else 0.0
        axes.barh(place, length, height=0.56, color=COLOURS["accent"])
        axes.annotate(
            *(_gain(gain), (max(length, 0), place)),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            size=9,
        )
    finite = [gain for _, gain, _ in rows if math.isfinite(gain)]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(1.1 * min([0.0, *finite]), 1.2 * max([0.1, *finite]))
    axes.set_xlabel("dB gained by keeping this layer alone in float")
    _calm(axes)
    return inline(figure, key, f"INT8 layers of {label}", "The same numbers follow as a table.")
