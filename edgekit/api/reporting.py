"""What exports and benches left, as one report."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path

from edgekit.api.bundles import Bundle
from edgekit.reports.summary import SummaryReport
from edgekit.tasks.report import check_targets, read_reports


def report(
    *paths: Bundle | Path | str,
    html: Path | str | None = None,
    markdown: Path | str | None = None,
    json: Path | str | None = None,
) -> SummaryReport:
    """Reads what exports and benches left into one report, and writes it where it is asked to.

    Args:
        paths: bundles, folders that hold some at any depth, and files that ``edgekit export
            --json`` and ``edgekit bench --json`` or ``--out`` wrote.
        html: a file for the page, which needs nothing else to be read.
        markdown: a file for the same as Markdown.
        json: a file for the same as json; its keys are stable within a ``schema_version``.

    Returns:
        The report, the worst first.

    Raises:
        InputError: nothing was found, a file is damaged or none of edgekit's, or a file cannot be
            written there.
        BadBundle: a bundle is damaged.
        EnvironmentLacks: ``html`` needs Matplotlib and Jinja2, and they are not installed.
    """
    given = {"html": html, "markdown": markdown, "json": json}
    targets = {name: Path(path) for name, path in given.items() if path is not None}
    check_targets(targets)
    summary = read_reports([p.path if isinstance(p, Bundle) else Path(p) for p in paths])
    texts: dict[str, str] = {}
    if "html" in targets:
        from edgekit.reports.html import page

        texts["html"] = page(summary)
    if "markdown" in targets:
        from edgekit.reports import summary_text

        texts["markdown"] = summary_text.markdown(summary)
    if "json" in targets:
        texts["json"] = jsonlib.dumps(summary.to_json(), indent=1) + "\n"
    for name, text in texts.items():
        targets[name].write_text(text, encoding="utf-8")
    return summary
