"""Reads the json of exports and benches, whose texts can then be printed safely."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from edgekit.bundle.folder import first_fault
from edgekit.errors import InputError
from edgekit.files import check_readable
from edgekit.reports.bench import BenchReport
from edgekit.reports.document import LatencyRow, Report
from edgekit.sources.learning import Learning

AGAIN = "write it again with this edgekit"
_Kind = TypeVar("_Kind")
BENCH_KEYS = frozenset({"proofs", "end_to_end"})
LARGEST = 64_000_000  # bytes
LARGEST_NUMBER = 2**53  # the largest integer that json holds exactly
TAKES = "give bundles, runs of training, folders with them, or the json of an export or a bench"
# Characters that change the direction of text, so that a name could look like another one.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Foreign(InputError):
    """The json is not a report of edgekit."""


def read_bench(path: Path) -> BenchReport:
    """The json of a bench.

    Raises:
        InputError: it is not there, damaged, or something else.
    """
    check_readable(path, InputError, hint="give the json of a bench")
    document = load(path)
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


def load(path: Path) -> Any:
    """Reads a json document whose texts can be printed safely.

    Raises:
        InputError: the file is not json, or too large for a report.
    """
    check_readable(path, InputError, hint=TAKES)
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path} is too large for a report of edgekit", hint=TAKES)
        return cleaned(json.loads(path.read_text(encoding="utf-8")), path)
    except (ValueError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise Foreign(f"{path} is damaged, or not json: {reason[:200]}", hint=TAKES) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", hint=TAKES) from error


def cleaned(value: Any, path: Path) -> Any:
    """Removes control characters, which could control a terminal, and checks numbers."""
    if isinstance(value, str):
        return "".join(map(_visible, value))
    if isinstance(value, dict):
        return {cleaned(key, path): cleaned(item, path) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(item, path) for item in value]
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


def export_of(path: Path, document: Any) -> Report:
    """The report of an export from its json.

    Raises:
        InputError: it is damaged, or of another version.
    """
    report = _validated(path, Report, document)
    for rung in report.ladder:
        if rung.parity is not None:
            _check_share(path, rung.parity.images, rung.parity.top1)
    if report.latency is not None:
        _check_rows(path, report.latency.rows)
    if report.learning is not None:
        return replace(report, learning=learning_of(path, report.learning))
    return report


def learning_of(path: Path, read: Learning) -> Learning:
    """The curves, with texts that can be printed safely.

    Raises:
        InputError: a number cannot be one of a training.
    """
    checked = _validated(path, Learning, cleaned(asdict(read), path))
    numbers = [loss for _, loss in checked.losses]
    numbers += [n for e in checked.epochs for n in (e.loss, e.validation_loss, e.rate, e.seconds)]
    shares = [epoch.validation_top1 for epoch in checked.epochs]
    if not all(map(math.isfinite, numbers)) or not all(0 <= share <= 1 for share in shares):
        raise InputError(f"{path} is damaged: its learning curves are not numbers", hint=AGAIN)
    return checked


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
