"""Finds and reads the files of a summary: bundles, runs of training, and reports of exports and
benches.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekit.bundle import MANIFEST, SENSITIVITY, Bundle
from edgekit.bundle.engines import open_engine
from edgekit.bundle.names import ENGINE, RECORD
from edgekit.errors import InputError
from edgekit.files import check_readable
from edgekit.reports.bench import BenchReport
from edgekit.reports.document import shown
from edgekit.reports.found import Benched, Exported
from edgekit.reports.summarize import summarize
from edgekit.reports.summary import EngineAudit, SummaryReport
from edgekit.sources.learning import Learning
from edgekit.sources.run import DESCRIPTION, read_learning
from edgekit.tasks.build import audit_of
from edgekit.tasks.report_files import (
    BENCH_KEYS,
    TAKES,
    Foreign,
    bench_of,
    cleaned,
    export_of,
    learning_of,
    load,
)

REPORT = "report.json"


@dataclass
class _Found:
    exports: list[Exported] = field(default_factory=list)
    benches: list[tuple[Path, BenchReport]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    seen: set[Path] = field(default_factory=set)
    runs: dict[str, Learning] = field(default_factory=dict)


def read_reports(paths: Sequence[Path]) -> SummaryReport:
    """Reads all files of the paths into one summary.

    Raises:
        InputError: there is no path, a path is missing, damaged or not from edgekit, or nothing was
            found.
        BadBundle: a bundle is damaged.
    """
    found = _find(paths)
    return summarize(_without_copies(found.exports), _benched(found), found.left_out, found.runs)


def find_reports(
    paths: Sequence[Path],
) -> tuple[list[Exported], list[Benched], Mapping[str, str]]:
    """Reads everything that the paths name: exports, benches, and the other files with a reason.

    Raises:
        InputError: no path, one that is not there, damaged or foreign, or nothing found.
        BadBundle: a bundle is damaged.
    """
    found = _find(paths)
    return _without_copies(found.exports), _benched(found), found.left_out


def _find(paths: Sequence[Path]) -> _Found:
    found = _Found()
    for path in paths:
        if path.is_dir():
            _read_folder(path, found)
        else:
            check_readable(path, InputError, hint=TAKES)
            if path.name == MANIFEST and (path.parent / MANIFEST).is_file():
                _read_bundle(path.parent, found)
            else:
                _read_file(path, found)
    if not found.exports and not found.benches and not found.runs:
        where = ", ".join(map(str, paths)) or "nothing"
        raise InputError(f"found no report of edgekit: {where}", hint=TAKES)
    return found


def _benched(found: _Found) -> list[Benched]:
    names = Counter(path.name for path, _ in found.benches)
    return [
        Benched(path, report, path.name if names[path.name] == 1 else str(path))
        for path, report in found.benches
    ]


def _read_folder(folder: Path, found: _Found) -> None:
    """A bundle, a run, or a folder with them at any depth. Names that begin with a dot are
    skipped.
    """
    if (folder / MANIFEST).exists():
        _read_bundle(folder, found)
        return
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if MANIFEST in files or DESCRIPTION in files:
            folders.clear()
            read = _read_bundle if MANIFEST in files else _read_run
            read(Path(place), found)
            continue
        for name in sorted(files):
            if name.endswith(".json") and not name.startswith("."):
                _try_file(Path(place) / name, found)


def _try_file(path: Path, found: _Found) -> None:
    """A file inside a folder. If it is not a report, it is listed as skipped."""
    try:
        _read_file(path, found)
    except Foreign as error:
        if path.name == REPORT:
            raise
        found.left_out[str(path)] = error.message.removeprefix(f"{path} ")


def _read_run(folder: Path, found: _Found) -> None:
    if not _again(folder, found):
        found.runs[shown(folder)] = learning_of(folder, read_learning(folder))


def _read_bundle(folder: Path, found: _Found) -> None:
    if _again(folder, found):
        return
    bundle = Bundle.open(folder)
    bundle = replace(
        bundle,
        manifest=type(bundle.manifest).model_validate(
            cleaned(bundle.manifest.model_dump(), folder / MANIFEST)
        ),
    )
    report = None
    if REPORT in bundle.manifest.files:
        bundle.check(REPORT)
        report = export_of(folder / REPORT, load(folder / REPORT))
    table = bundle.sensitivity() if SENSITIVITY in bundle.manifest.files else None
    found.exports.append(Exported(folder, bundle, report, table, audited_engines(bundle)))


def audited_engines(bundle: Bundle) -> tuple[EngineAudit, ...]:
    """The engines that a bundle's manifest lists, by what was noted when they were built.

    Raises:
        BadBundle: what was noted of one is missing, altered or damaged.
    """
    audits = []
    for name in sorted(name for name in bundle.manifest.files if name.endswith(ENGINE)):
        path = bundle.path / name
        bundle.check(f"{name.removesuffix(ENGINE)}{RECORD}")
        engine = open_engine(path)
        record = engine.record.model_validate(cleaned(engine.record.model_dump(), path))
        audits.append(
            EngineAudit(
                path.name,
                record.runtime,
                record.version,
                f"{record.gpu}, {record.sm}" if record.gpu else record.sm,
                engine.megabytes,
                audit_of(record, bundle.manifest),
            )
        )
    return tuple(audits)


def _read_file(path: Path, found: _Found) -> None:
    if _again(path, found):
        return
    document = load(path)
    keys = set(document) if isinstance(document, dict) else set()
    if {"ladder", "precision", "weights"} <= keys:
        found.exports.append(Exported(path, None, export_of(path, document)))
    elif keys >= BENCH_KEYS:
        found.benches.append((path, bench_of(document, path)))
    else:
        raise Foreign(f"{path} is json, but not a report of edgekit", hint=TAKES)


def _again(path: Path, found: _Found) -> bool:
    """Whether a file was read before, under any name."""
    real = path.resolve()
    if real in found.seen:
        return True
    found.seen.add(real)
    return False


def _without_copies(exports: Sequence[Exported]) -> list[Exported]:
    """Each export once: a bundle contains the report that may also be next to it."""
    kept: list[Exported] = []
    for export in sorted(exports, key=lambda e: e.bundle is None):
        same = (
            other.report is not None
            and export.report is not None
            and replace(other.report, path=None) == replace(export.report, path=None)
            for other in kept
        )
        if export.bundle is not None or not any(same):
            kept.append(export)
    return kept
