"""Finds and reads the files of a summary: bundles, and reports of exports and benches."""

from __future__ import annotations

import json
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from edgekit.bundle import MANIFEST, SENSITIVITY, Bundle
from edgekit.bundle.engines import open_engine
from edgekit.bundle.folder import first_fault
from edgekit.bundle.names import ENGINE, RECORD
from edgekit.errors import InputError
from edgekit.files import check_readable, check_writable
from edgekit.reports.bench import BenchReport
from edgekit.reports.document import LatencyRow, Report
from edgekit.reports.found import Benched, Exported
from edgekit.reports.summarize import summarize
from edgekit.reports.summary import EngineAudit, SummaryReport
from edgekit.tasks.build import audit_of

AGAIN = "write it again with this edgekit"
_Kind = TypeVar("_Kind")
REPORT = "report.json"
BENCH_KEYS = frozenset({"proofs", "end_to_end"})
LARGEST = 64_000_000  # bytes
LARGEST_NUMBER = 2**53  # the largest integer that json holds exactly
TAKES = "give bundles, folders with bundles, or the json of an export or a bench"
# Characters that change the direction of text, so that a name could look like another one.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class _Foreign(InputError):
    """The json is not a report of edgekit."""


@dataclass
class _Found:
    exports: list[Exported] = field(default_factory=list)
    benches: list[tuple[Path, BenchReport]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    seen: set[Path] = field(default_factory=set)


def read_reports(paths: Sequence[Path]) -> SummaryReport:
    """Reads all files of the paths into one summary.

    Raises:
        InputError: there is no path, a path is missing, damaged or not from edgekit, or nothing was
            found.
        BadBundle: a bundle is damaged.
    """
    exports, benches, left_out = find_reports(paths)
    return summarize(exports, benches, left_out)


def find_reports(
    paths: Sequence[Path],
) -> tuple[list[Exported], list[Benched], Mapping[str, str]]:
    """Reads everything that the paths name: exports, benches, and the other files with a reason.

    Raises:
        InputError: no path, one that is not there, damaged or foreign, or nothing found.
        BadBundle: a bundle is damaged.
    """
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
    if not found.exports and not found.benches:
        where = ", ".join(map(str, paths)) or "nothing"
        raise InputError(f"found no report of edgekit: {where}", hint=TAKES)
    names = Counter(path.name for path, _ in found.benches)
    benches = [
        Benched(path, report, path.name if names[path.name] == 1 else str(path))
        for path, report in found.benches
    ]
    return _without_copies(found.exports), benches, found.left_out


def _read_folder(folder: Path, found: _Found) -> None:
    """A bundle, or a folder with bundles at any depth. Names that begin with a dot are skipped."""
    if (folder / MANIFEST).exists():
        _read_bundle(folder, found)
        return
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if MANIFEST in files:
            folders.clear()
            _read_bundle(Path(place), found)
            continue
        for name in sorted(files):
            if name.endswith(".json") and not name.startswith("."):
                _try_file(Path(place) / name, found)


def _try_file(path: Path, found: _Found) -> None:
    """A file inside a folder. If it is not a report, it is listed as skipped."""
    try:
        _read_file(path, found)
    except _Foreign as error:
        if path.name == REPORT:
            raise
        found.left_out[str(path)] = error.message.removeprefix(f"{path} ")


def _read_bundle(folder: Path, found: _Found) -> None:
    if _again(folder, found):
        return
    bundle = Bundle.open(folder)
    bundle = replace(
        bundle,
        manifest=type(bundle.manifest).model_validate(
            _clean(bundle.manifest.model_dump(), folder / MANIFEST)
        ),
    )
    report = None
    if REPORT in bundle.manifest.files:
        bundle.check(REPORT)
        report = _export_report(folder / REPORT, _load(folder / REPORT))
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
        record = engine.record.model_validate(_clean(engine.record.model_dump(), path))
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
    document = _load(path)
    keys = set(document) if isinstance(document, dict) else set()
    if {"ladder", "precision", "weights"} <= keys:
        found.exports.append(Exported(path, None, _export_report(path, document)))
    elif keys >= BENCH_KEYS:
        found.benches.append((path, bench_of(document, path)))
    else:
        raise _Foreign(f"{path} is json, but not a report of edgekit", hint=TAKES)


def read_bench(path: Path) -> BenchReport:
    """The json of a bench.

    Raises:
        InputError: it is not there, damaged, or something else.
    """
    check_readable(path, InputError, hint="give the json of a bench")
    document = _load(path)
    if not isinstance(document, dict) or not set(document) >= BENCH_KEYS:
        raise InputError(f"{path} is not the report of a bench", hint="give the json of a bench")
    return bench_of(document, path)


def bench_of(document: Any, path: Path) -> BenchReport:
    """A bench from its json; ``path`` is where that was found.

    Raises:
        InputError: it is damaged, or of another version.
    """
    report = _validated(path, BenchReport, document)
    for proof in report.proofs:
        _check_share(path, proof.parity.images, proof.parity.top1)
    for measured in filter(None, (report.end_to_end, report.engine_only)):
        _check_rows(path, measured.rows)
    return report


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


# ---- json


def _load(path: Path) -> Any:
    """Reads a json document whose texts can be printed safely.

    Raises:
        InputError: the file is not json, or too large for a report.
    """
    check_readable(path, InputError, hint=TAKES)
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path} is too large for a report of edgekit", hint=TAKES)
        return _clean(json.loads(path.read_text(encoding="utf-8")), path)
    except (ValueError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise _Foreign(f"{path} is damaged, or not json: {reason[:200]}", hint=TAKES) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", hint=TAKES) from error


def _clean(value: Any, path: Path) -> Any:
    """Removes control characters, which could control a terminal, and checks numbers."""
    if isinstance(value, str):
        return "".join(map(_visible, value))
    if isinstance(value, dict):
        return {_clean(key, path): _clean(item, path) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item, path) for item in value]
    if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        raise InputError(
            f"{path} is damaged: it holds a number of {len(f'{value:x}')} digits", hint=AGAIN
        )
    return value


def _visible(character: str) -> str:
    if character in "\n\r\t":
        return " "
    if character in _TURNING or unicodedata.category(character) in ("Cc", "Cs"):
        return f"\\u{ord(character):04x}"
    return character


def _export_report(path: Path, document: Any) -> Report:
    report = _validated(path, Report, document)
    for rung in report.ladder:
        if rung.parity is not None:
            _check_share(path, rung.parity.images, rung.parity.top1)
    if report.latency is not None:
        _check_rows(path, report.latency.rows)
    return report


def _validated(path: Path, kind: type[_Kind], document: Any) -> _Kind:
    try:
        return TypeAdapter(kind).validate_python(document)
    except ValidationError as error:
        raise InputError(
            f"{path} is damaged, or from another version of edgekit: {first_fault(error, 'it')}",
            hint=AGAIN,
        ) from error


def _check_share(path: Path, images: int, share: float) -> None:
    if images < 1 or not 0 <= share <= 1:
        raise InputError(
            f"{path} is damaged: an agreement of {share} on {images} images",
            hint=AGAIN,
        )


def _check_rows(path: Path, rows: Sequence[LatencyRow]) -> None:
    numbers = [n for row in rows for n in (row.summary.median, row.summary.p90, row.summary.p99)]
    numbers += [n for row in rows for n in row.blocks]
    numbers += [n for row in rows if row.ratio for n in (row.ratio.low, row.ratio.high)]
    if not rows or not all(0 < number < LARGEST_NUMBER for number in numbers):
        raise InputError(
            f"{path} is damaged: its latencies are not positive numbers",
            hint=AGAIN,
        )


def check_targets(targets: Mapping[str, Path]) -> None:
    """Checks that the files can be written, before anything is read.

    Raises:
        InputError: a file cannot be written, two are the same, or one would be inside a bundle.
    """
    taken: dict[Path, str] = {}
    for name, path in targets.items():
        check_writable(f"`{name}`", path)
        real = path.resolve()
        if real in taken:
            raise InputError(
                f"`{taken[real]}` and `{name}` are one file: {path}", hint="name two files"
            )
        taken[real] = name
        inside = next((p for p in real.parents if (p / MANIFEST).is_file()), None)
        if inside is not None:
            raise InputError(
                f"`{name}` {path} is inside a bundle, and would damage it",
                hint="choose another place",
            )
