"""The files that were read for a summary, before they are put together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.bundle.folder import Bundle
from edgekit.bundle.sensitivity import SensitivityTable
from edgekit.reports.bench import BenchReport
from edgekit.reports.document import Report
from edgekit.reports.summary import EngineAudit


@dataclass(frozen=True)
class Exported:
    """An export: its bundle, its report, or both."""

    source: Path
    bundle: Bundle | None
    report: Report | None
    sensitivity: SensitivityTable | None = None
    engines: tuple[EngineAudit, ...] = ()


@dataclass(frozen=True)
class Benched:
    """A bench with the name of its file, or its path if another file has the same name."""

    source: Path
    report: BenchReport
    name: str
