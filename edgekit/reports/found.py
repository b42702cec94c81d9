"""What was read for a summary, before it is put together."""

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
    """What is known of an export: its bundle, its report, or both."""

    source: Path
    bundle: Bundle | None
    report: Report | None
    sensitivity: SensitivityTable | None = None
    engines: tuple[EngineAudit, ...] = ()


@dataclass(frozen=True)
class Benched:
    """A bench under the name of its file, or the path where another has that name too."""

    source: Path
    report: BenchReport
    name: str
