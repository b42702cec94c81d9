"""The windows of a long load as table rows, for the terminal and the page."""

from __future__ import annotations

from edgekit.latency.sustained import Window
from edgekit.reports import table

WINDOW = (
    *("second", "median ms", "p99", "CPU MHz", "GPU MHz", "°C", "W"),
    "held down by",
)


def shown_window(window: Window) -> tuple[str, ...]:
    """A row under the titles of :data:`WINDOW`; an unknown value is a dash."""
    return (
        f"{window.start:.0f} s",
        table.milliseconds(window.median),
        table.milliseconds(window.p99),
        *(
            "–" if value is None else f"{value:.0f}"
            for value in (window.cpu_mhz, window.gpu_mhz, window.temperature, window.power)
        ),
        ", ".join(window.throttled) or "–",
    )
