"""One report of exports and benches."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path

from edgekit.api.arguments import folder_of
from edgekit.bundle.folder import Bundle
from edgekit.reports.summary import SummaryReport
from edgekit.tasks.outputs import check_outputs
from edgekit.tasks.report import read_reports


def report(
    *paths: Bundle | Path | str,
    html: Path | str | None = None,
    markdown: Path | str | None = None,
    json: Path | str | None = None,
) -> SummaryReport:
    """Reads the results of exports, benches and trainings into one report, and writes it to files.

    Args:
        paths: bundles, runs of training, folders with them at any depth, and files of ``edgekit
            export --json`` and ``edgekit bench --json`` or ``--out``.
        html: a file for the page, which needs no other file.
        markdown: a file for the same as Markdown.
        json: a file for the same as json; its keys are stable within a ``schema_version``.

    Returns:
        The report, the worst first.

    Raises:
        InputError: nothing was found, a file is damaged or not from edgekit, or a file cannot be
            written.
        BadBundle: a bundle is damaged.
        EnvironmentLacks: ``html`` needs Matplotlib and Jinja2, and they are not installed.
    """
    given = {"html": html, "markdown": markdown, "json": json}
    targets = {name: Path(path) for name, path in given.items() if path is not None}
    check_outputs(targets)
    summary = read_reports([folder_of(path) for path in paths])
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
