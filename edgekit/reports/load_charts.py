"""The chart of a long load: latency over time, with the state of the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgekit.latency.sustained import Sustained
from edgekit.reports import table
from edgekit.reports.drawing import WIDTH
from edgekit.reports.summary import Load
from edgekit.reports.svg import COLOURS, new_figure
from edgekit.reports.window_rows import WINDOW, shown_window

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SECTION = "under load"
TALL, GAP, BOTTOM = 1.1, 0.35, 0.5  # inches
LoadSketch = tuple[str, str, str, "Figure", tuple[str, ...], tuple[tuple[str, ...], ...]]


def sketch_loads(loads: Sequence[Load]) -> Iterator[LoadSketch]:
    """One chart per candidate, with its windows as a table."""
    for load in loads:
        curve = load.sustained
        yield (
            SECTION,
            f"{curve.name}, {load.title}",
            describe(curve),
            draw(curve),
            WINDOW,
            tuple(map(shown_window, curve.windows)),
        )


def describe(curve: Sustained) -> str:
    """The description of the chart as text."""
    first, last = curve.windows[0], curve.windows[-1]
    sentences = [
        f"Latency over {curve.seconds:.0f} seconds without a pause, window by window: median and "
        f"99th percentile. The median is {table.milliseconds(first.median)} ms in the first "
        f"window and {table.milliseconds(last.median)} ms in the last. The last quarter compared "
        f"with the first: {table.ratio(curve.change)}."
    ]
    if curve.throttled:
        count = sum(bool(window.throttled) for window in curve.windows)
        sentences.append(f"Held down in {count} windows by {', '.join(curve.throttled)}.")
    if curve.unread:
        sentences.append(f"This machine does not report: {', '.join(curve.unread)}.")
    return " ".join(sentences)


def draw(curve: Sustained) -> Figure:
    series = [
        (title, values)
        for title, values in (
            ("ms, median", [w.median for w in curve.windows]),
            ("ms, 99th percentile", [w.p99 for w in curve.windows]),
            ("CPU, MHz", [w.cpu_mhz for w in curve.windows]),
            ("GPU, MHz", [w.gpu_mhz for w in curve.windows]),
            ("°C", [w.temperature for w in curve.windows]),
            ("W", [w.power for w in curve.windows]),
        )
        if any(value is not None for value in values)
    ]
    height = BOTTOM + (TALL + GAP) * len(series)
    figure = new_figure(WIDTH, height)
    seconds = [w.start for w in curve.windows]
    panels = [
        figure.add_axes(
            (0.11, (BOTTOM + (TALL + GAP) * (len(series) - 1 - at)) / height, 0.86, TALL / height)
        )
        for at in range(len(series))
    ]
    for panel, (title, values) in zip(panels, series, strict=True):
        known = [float("nan") if value is None else value for value in values]
        panel.plot(seconds, known, color=COLOURS["accent"], lw=1.4)
        _frame(panel, title, curve)
        panel.tick_params(labelbottom=panel is panels[-1])
    for panel in panels[:2]:
        panel.set_ylim(bottom=0)
    panels[-1].set_xlabel("seconds under load")
    return figure


def _frame(panel: Axes, title: str, curve: Sustained) -> None:
    """The frame of a chart. Windows with lowered clocks have a mark at the bottom."""
    from matplotlib.ticker import MaxNLocator

    held = [w.start for w in curve.windows if w.throttled]
    panel.plot(
        *(held, [0.02] * len(held), "|"),
        color=COLOURS["fail"],
        ms=8,
        transform=panel.get_xaxis_transform(),
    )
    panel.set_title(title, loc="left", size=9, color=COLOURS["muted"], pad=3)
    panel.set_xlim(0, max(curve.seconds, curve.windows[-1].start))
    panel.yaxis.set_major_locator(MaxNLocator(4))
    panel.grid(visible=True)
    panel.set_axisbelow(True)
