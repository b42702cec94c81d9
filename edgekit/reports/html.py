"""A summary as one page that loads nothing else: no server, no network, no fonts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from edgekit.errors import EnvironmentLacks, lacking
from edgekit.reports.charts import Chart, draw_charts
from edgekit.reports.drawing import shown_ms, shown_sqnr
from edgekit.reports.summary import IMAGENET, RANK, Entry, SummaryReport
from edgekit.reports.summary_text import ENGINE_TITLES, engine_faults, engine_rows

AT_ONCE = 6  # notices that are always visible
PAGE = Path(__file__).parent / "page"
SECTIONS = {
    "parity": "Parity",
    "latency": "Latency",
    "under load": "Under load",
    "what it costs": "What it costs",
    "sensitivity": "INT8, layer by layer",
    "training": "Training",
}


@dataclass(frozen=True)
class _Cell:
    """``value`` is used to sort the column."""

    text: str
    value: float | str
    number: bool = True


TITLES = (
    *("network", "precision", "verdict", "agreement, %", "SQNR, dB"),
    *("median ms", "p90 ms", "MB", "published top-1", "in float"),
)


def page(report: SummaryReport) -> str:
    """The page; the same report gives the same bytes.

    Raises:
        EnvironmentLacks: Matplotlib or Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup

        charts = draw_charts(report)
    except ImportError as error:
        raise _lack(error) from error
    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [
        (SECTIONS[name], [(chart, Markup(chart.svg)) for chart in members])
        for name, members in groupby(charts, key=_section)
    ]
    return environment.get_template("report.html.j2").render(
        report=report,
        sections=sections,
        titles=TITLES,
        at_once=max(AT_ONCE, sum(notice.weight == "fail" for notice in report.notices)),
        others=report.other_datasets,
        rows=[(entry, _cells(entry)) for entry in report.entries],
        audited=[entry for entry in report.entries if entry.kept],
        engine_titles=ENGINE_TITLES,
        engines=list(engine_rows(report.entries)),
        engine_faults=engine_faults(report.entries),
        environments=[_pairs(machine.lines) for machine in report.machines],
    )


def _section(chart: Chart) -> str:
    return chart.section


def _lack(error: ImportError) -> EnvironmentLacks:
    """The error if a package of the extra is missing; any other error is raised again."""
    lack = lacking(error)
    if lack is None:
        raise error
    return lack


def _cells(entry: Entry) -> list[_Cell]:
    step, latency = entry.decisive, entry.latency
    top1 = entry.published
    star = "*" if top1 is not None and top1.dataset != IMAGENET else ""
    return [
        _Cell(entry.label, entry.label.lower(), False),
        _Cell(entry.precision, entry.precision, False),
        _Cell(entry.verdict, RANK[entry.verdict], False),
        _number(100 * step.agreement if step else None, "{:.1f}".format),
        _number(step.sqnr if step else None, shown_sqnr),
        _number(latency.median if latency else None, shown_ms),
        _number(latency.p90 if latency else None, shown_ms),
        _number(entry.megabytes, "{:.2f}".format),
        _number(top1.top1 if top1 else None, lambda value: f"{value:.1f}{star}"),
        _number(float(len(entry.kept)), "{:.0f}".format),
    ]


def _number(value: float | None, shown: Callable[[float], str]) -> _Cell:
    """Unknown values are last in both directions."""
    if value is None or math.isnan(value):
        return _Cell("–", "")
    return _Cell(shown(value), "Infinity" if value == math.inf else value)


def _pairs(lines: Sequence[str]) -> list[tuple[str, str]]:
    parts = (line.partition(" ") for line in lines)
    return [(name, rest.strip()) for name, _, rest in parts]
