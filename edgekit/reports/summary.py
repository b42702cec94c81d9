"""The summary of several exports and benches: the report of ``edgekit report``, written as a table,
json, Markdown and a page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgekit.bundle.manifest import KeptEntry
from edgekit.bundle.sensitivity import SensitivityTable
from edgekit.latency.statistics import Ratio
from edgekit.latency.sustained import Sustained
from edgekit.reports.bench import Shipped
from edgekit.reports.document import LatencyRow
from edgekit.reports.plain import plain
from edgekit.runtimes.tensorrt.inspection.audit import Audit
from edgekit.sources.learning import Learning

SCHEMA_VERSION = 1
IMAGENET = "ImageNet-1k"
NAMED = 6  # places that a notice lists
GOLDEN = "golden, "  # a step from a bench: the golden images in a runtime
Verdict = Literal["fail", "inconclusive", "pass"]
Weight = Literal["fail", "mind"]
RANK: Mapping[str, int] = {"fail": 0, "inconclusive": 1, "pass": 2}


@dataclass(frozen=True)
class Step:
    """A compared rung: ``agreement`` is the share of ``images`` with the same first class,
    ``interval`` its 95 % interval; ``sqnr`` in dB is infinite if nothing differs and NaN if an
    output is not finite.
    """

    name: str
    sqnr: float
    agreement: float
    interval: tuple[float, float]
    images: int
    verdict: Verdict
    failures: tuple[str, ...] = ()
    caveat: str | None = None


@dataclass(frozen=True)
class Published:
    """The published top-1 in percent, of the FP32 network at its registered size."""

    top1: float
    dataset: str


@dataclass(frozen=True)
class Timed:
    """The latency of an entry in milliseconds, and the index of its measurement in
    :attr:`SummaryReport.timings`.
    """

    median: float
    p90: float
    ratio: Ratio | None
    reference: str
    timing: int


@dataclass(frozen=True)
class EngineAudit:
    """An engine of a bundle: what it was built with and for, its size in MB (10⁶ bytes), and the
    precisions of its layers as the build read them back.
    """

    engine: str
    runtime: str
    version: str
    device: str
    megabytes: float
    audit: Audit


@dataclass(frozen=True)
class Entry:
    """One network in one precision. ``megabytes`` (10⁶ bytes) is the size of the graph that a CPU
    runs, ``path`` the file that was read.
    """

    label: str
    network: str
    origin: str
    precision: str
    input: str
    weights: str
    path: str
    megabytes: float | None
    published: Published | None
    steps: tuple[Step, ...]
    kept: tuple[KeptEntry, ...]
    latency: Timed | None
    sensitivity: SensitivityTable | None
    engines: tuple[EngineAudit, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The verdict of the worst step."""
        return min((s.verdict for s in self.steps), key=RANK.__getitem__, default="inconclusive")

    @property
    def decisive(self) -> Step | None:
        """The worst step in the entry's own precision, else the worst of all; None if nothing was
        compared.
        """
        own = [s for s in self.steps if self.precision in s.name]
        failed = [s for s in self.steps if s.verdict == "fail"]
        return min(failed or own or self.steps, key=_badness, default=None)


@dataclass(frozen=True)
class Timings:
    """Candidates that were measured in turns; ``noise_floor`` is the reference compared with
    itself. ``machine`` is an index in :attr:`SummaryReport.machines`.
    """

    title: str
    what: str
    batch: int
    threads: int
    reference: str
    rows: tuple[LatencyRow, ...]
    failed: tuple[str, ...]
    noise_floor: Ratio
    machine: int


@dataclass(frozen=True)
class Load:
    """A candidate under a load that lasts, and the bench that measured it."""

    title: str
    sustained: Sustained


@dataclass(frozen=True)
class Trained:
    """A run of training, or the training of an exported network, with its curves."""

    name: str
    learning: Learning


@dataclass(frozen=True)
class Notice:
    """A warning or failure, how to fix it, and where it occurred; ``fail`` is a gate that was not
    met.
    """

    weight: Weight
    where: tuple[str, ...]
    message: str
    fix: str | None = None

    @property
    def places(self) -> tuple[str, ...]:
        """The first places of ``where``, and the number of the others."""
        more = len(self.where) - NAMED
        return self.where if more <= 1 else (*self.where[:NAMED], f"{more} more")


@dataclass(frozen=True)
class Machine:
    """The machine and the versions of the tools that the numbers come from, in lines."""

    lines: tuple[str, ...]
    tools: Mapping[str, str]
    where: tuple[str, ...]


@dataclass(frozen=True)
class SummaryReport:
    """Entries and notices are sorted, the worst first. ``left_out`` lists the skipped files of
    folders, with the reason.
    """

    schema_version: int
    edgekit: str
    entries: tuple[Entry, ...]
    timings: tuple[Timings, ...]
    verdicts: tuple[Shipped, ...]
    notices: tuple[Notice, ...]
    machines: tuple[Machine, ...]
    left_out: Mapping[str, str]
    loads: tuple[Load, ...] = ()
    trainings: tuple[Trained, ...] = ()

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of entries with each verdict, the worst first."""
        return {v: sum(e.verdict == v for e in self.entries) for v in RANK}

    @property
    def other_datasets(self) -> tuple[str, ...]:
        """The data sets of published top-1 other than ImageNet."""
        found = {e.published.dataset for e in self.entries if e.published is not None}
        return tuple(sorted(found - {IMAGENET}))

    def to_json(self) -> dict[str, Any]:
        """The whole report as json types; keys are stable within a ``schema_version``."""
        entries = [{**plain(entry), "verdict": entry.verdict} for entry in self.entries]
        return {**plain(self), "entries": entries, "counts": dict(self.counts)}


def worst_first(entry: Entry) -> tuple[int, float, float, str]:
    """The order of entries: verdict, then agreement, then SQNR, then the label."""
    step = entry.decisive
    if step is None:
        return (RANK[entry.verdict], 2.0, 0.0, entry.label)
    return (RANK[entry.verdict], *_badness(step)[1:], entry.label)


def _badness(step: Step) -> tuple[int, float, float]:
    sqnr = step.sqnr if step.sqnr == step.sqnr else float("-inf")
    return (RANK[step.verdict], step.agreement, sqnr)
