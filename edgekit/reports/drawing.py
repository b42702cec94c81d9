"""Draws the pictures of a summary: sizes, marks, and positions of labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.reports.summary import Timings
from edgekit.reports.svg import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY_POINTS, LONGEST_LABEL = 14, 38
WIDTH, LETTER, ROW = 5.5, 0.078, 0.3  # inches


def short(text: str, most: int = LONGEST_LABEL) -> str:
    """Shortens a label in the middle so that it fits."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def shown_sqnr(sqnr: float) -> str:
    return "exact" if sqnr == math.inf else "–" if math.isnan(sqnr) else f"{sqnr:.1f}"


def shown_ms(value: float) -> str:
    return f"{value:.1f}" if value >= 100 else f"{value:.2f}" if value >= 10 else f"{value:.3f}"


def shown_gain(gain: float) -> str:
    return f"{gain:+.2f}" if math.isfinite(gain) else "no error left"


@dataclass(frozen=True)
class Point:
    """A network with its cost and its worth; ``failed`` if a gate was not met."""

    label: str
    cost: float
    worth: float
    failed: bool


def heat_map(
    labels: Sequence[str],
    columns: Sequence[str],
    cells: Mapping[tuple[int, int], tuple[int, str, bool]],
) -> Figure:
    from matplotlib.patches import Rectangle

    names = [short(label) for label in labels]
    left, cell = LETTER * max(map(len, names)) + 0.15, 0.66
    top = 0.48 * LETTER * min(max(map(len, columns)), LONGEST_LABEL) + 0.2
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
    return figure


def bars(timing: Timings) -> Figure:
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
    ratios.set_xlabel("times the reference")
    ratios.tick_params(left=False, labelleft=False)
    for axes in (bars, ratios):
        _calm(axes)
    return figure


def _calm(axes: Axes) -> None:
    """Few ticks, and no line at the left."""
    from matplotlib.ticker import MaxNLocator

    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.grid(visible=True)
    axes.set_axisbelow(True)


def pareto(points: Sequence[Point], best: frozenset[str], worth: str, cost: str) -> Figure:
    from matplotlib.ticker import LogLocator, NullLocator

    height = 2.6 if len(points) < 6 else 3.6
    figure = new_figure(WIDTH, height)
    axes = figure.add_axes((0.11, 0.52 / height, 0.86, 1 - 0.8 / height))
    lowest, highest = (f(p.cost for p in points) for f in (min, max))
    if lowest > 0 and highest > 20 * lowest:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(lowest / 1.5, highest * 1.5)
    else:
        axes.set_xlim(0, 1.12 * highest or 1)
    line = sorted((p for p in points if p.label in best), key=lambda p: p.cost)
    axes.step(
        *([p.cost for p in line], [p.worth for p in line]),
        where="post",
        color=COLOURS["accent"],
        lw=1.4,
        alpha=0.6,
    )
    for point in points:
        failed, kept = point.failed, point.label in best
        colour = COLOURS["fail" if failed else "accent" if kept else "muted"]
        axes.plot(point.cost, point.worth, "x" if failed else "o", color=colour, ms=6)
    worths = [p.worth for p in points]
    room = max(0.25 * (max(worths) - min(worths)), 1.0)
    axes.set_ylim(min(worths) - room, min(max(worths) + room, 100.4))
    _label(axes, [p for p in points if len(points) <= MANY_POINTS or p.label in best])
    axes.set_xlabel(cost)
    axes.set_title(worth, loc="left", size=9, color=COLOURS["muted"], pad=4)
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    return figure


def _label(axes: Axes, points: Sequence[Point]) -> None:
    """Writes a name next to every point, on the side with more room; neighbours alternate above and
    below.
    """
    for place, point in enumerate(sorted(points, key=lambda p: p.cost)):
        x = axes.transAxes.inverted().transform(axes.transData.transform((point.cost, 0)))[0]
        axes.annotate(
            *(short(point.label, 28), (point.cost, point.worth)),
            xytext=(-7 if x > 0.55 else 7, 8 if place % 2 else -11),
            textcoords="offset points",
            ha="right" if x > 0.55 else "left",
            va="center",
            size=9,
        )


def layers(rows: Sequence[tuple[str, float]]) -> Figure:
    names = [short(name) for name, _ in rows]
    left, height = LETTER * max(map(len, names)) + 0.2, ROW * len(names) + 0.55
    figure = new_figure(WIDTH, height)
    axes = figure.add_axes(
        (left / WIDTH, 0.5 / height, (WIDTH - left - 0.3) / WIDTH, ROW * len(names) / height)
    )
    for place, (_, gain) in enumerate(rows):
        length = gain if math.isfinite(gain) else 0.0
        axes.barh(place, length, height=0.56, color=COLOURS["accent"])
        axes.annotate(
            *(shown_gain(gain), (max(length, 0), place)),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            size=9,
        )
    finite = [gain for _, gain in rows if math.isfinite(gain)]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(1.1 * min([0.0, *finite]), 1.2 * max([0.1, *finite]))
    axes.set_xlabel("dB gained by keeping this layer alone in float")
    _calm(axes)
    return figure
