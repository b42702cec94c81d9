"""The report as ``report.md``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgekit.reports import table
from edgekit.reports.document import Report


def markdown(report: Report) -> str:
    """A page with the graphs, the ladder, latency, warnings and the environment."""
    lines = [f"# {report.network.name}, {report.precision}", ""]
    lines += _facts(report)
    lines += ["", "## Parity ladder", "", _images(report), ""]
    lines += _table(table.LADDER, map(table.ladder_row, report.ladder))
    if caveats := table.caveat_lines(report.ladder):
        lines += ["", *(f"- {line}" for line in caveats)]
    lines += ["", *(f"- {rung.name}: run by {rung.checked_with}" for rung in report.ladder)]
    if report.calibration is not None:
        lines += [
            "",
            "## INT8",
            "",
            *(f"- {line}" for line in table.calibration_lines(report.calibration, report.kept)),
        ]
    elif report.kept:
        lines += [
            "",
            "## Layers in FP32",
            "",
            *_table(
                ("layer", "operator", "why"), ((k.name, k.op_type, k.reason) for k in report.kept)
            ),
        ]
    if report.latency is not None:
        lines += [
            "",
            "## Latency",
            "",
            *_table(table.LATENCY, map(table.latency_row, report.latency.rows)),
        ]
        lines += ["", table.latency_caption(report.latency) + "."]
    else:
        lines += ["", "## Latency", "", "Not measured."]
    if report.advice:
        lines += [
            "",
            "## Warnings",
            "",
            *(f"- {a.message}" + (f" – {a.fix}" if a.fix else "") for a in report.advice),
        ]
    lines += [
        "",
        "## Environment",
        "",
        *(f"- {line}" for line in table.environment_lines(report.environment)),
    ]
    lines += [
        "",
        "Tools: " + ", ".join(f"{name} {version}" for name, version in report.tools.items()) + ".",
        "",
    ]
    return "\n".join(lines)


def _images(report: Report) -> str:
    where = (
        f"Every rung against the first, on {report.images.count} photos ({report.images.source})"
    )
    judging = report.calibration and report.calibration.judging.count
    return (
        f"{where}; the INT8 rungs on the {judging} test photos among them."
        if judging
        else f"{where}."
    )


def _facts(report: Report) -> list[str]:
    w = report.weights
    facts = [
        f"- Network: {report.network.name} ({report.network.origin})",
        f"- Weights: {table.weights_text(w)}",
    ]
    if w.sha256:
        facts.append(f"- Weights' sha256: `{w.sha256}`")
    return [*facts, f"- Input: `{report.input}`"]


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    head = [f"| {' | '.join(titles)} |", f"|{'|'.join(' --- ' for _ in titles)}|"]
    return head + [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
