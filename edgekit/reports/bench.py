"""The report of a bench: the candidates, their parity, and their latency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.advice import Advice
from edgekit.comparison import Parity
from edgekit.latency.compare import Change, Sample
from edgekit.latency.loadgen import ScenarioResult
from edgekit.latency.statistics import Ratio, Summary
from edgekit.latency.sustained import Sustained
from edgekit.latency.verdict import Verdict
from edgekit.machine.environment import Environment
from edgekit.reports.document import LatencyRow
from edgekit.reports.plain import plain


@dataclass(frozen=True)
class Proof:
    """A candidate and its parity with the bundle's golden outputs; ``failures`` is empty if it
    passes, ``version`` is the runtime's. ``graph`` is the SHA-256 of the graph that the runtime
    read; it is empty in reports of older versions.
    """

    name: str
    bundle: str
    network: str
    precision: str
    runtime: str
    version: str | None
    parity: Parity
    failures: tuple[str, ...]
    graph: str = ""


@dataclass(frozen=True)
class Table:
    """Latencies of one kind; ``noise_floor`` is the reference compared with itself."""

    what: str
    reference: str
    rows: tuple[LatencyRow, ...]
    noise_floor: Ratio


@dataclass(frozen=True)
class Shipped:
    """The verdict whether to ship the FP16 or the INT8 bundle of a network with a runtime."""

    runtime: str
    network: str
    verdict: Verdict


@dataclass(frozen=True)
class Start:
    """The start of a candidate up to its first result, measured in separate processes.

    Args:
        name: of the candidate.
        seconds: from the start of the process to the first result, the median of ``each``.
        each: the seconds of every process, in order; for the first, the files may not be cached.
        load_seconds: the part for opening the runtime and the graph.
        first_ms: the first inference.
        peak_megabytes: the peak memory of the process, in MB (10⁶ bytes).
        device_megabytes: its memory on GPUs after the first inference; None if it uses no GPU.
    """

    name: str
    seconds: float
    each: tuple[float, ...]
    load_seconds: float
    first_ms: float
    peak_megabytes: float
    device_megabytes: float | None


@dataclass(frozen=True)
class Energy:
    """The energy of a candidate that runs without a pause, from one counter; includes idle power.

    Args:
        name: of the candidate.
        source: the counter: a GPU, a CPU package, or a Jetson module.
        joules_per_image: energy divided by images.
        watts: energy divided by time.
    """

    name: str
    source: str
    joules_per_image: float
    watts: float


@dataclass(frozen=True)
class Setting:
    """A candidate with one batch and number of threads: milliseconds per batch, and images per
    second. All candidates of a setting were measured in turns.
    """

    name: str
    batch: int
    threads: int
    summary: Summary
    images_per_second: float


@dataclass(frozen=True)
class Comparison:
    """A bench compared with an earlier one.

    Args:
        source: the file and number of the earlier one.
        created: when it was measured, in UTC.
        machine: the differences between the two machines; empty for the same machine.
        tolerance: how much slower is not yet a regression: 0.05 is 5 %.
        changes: the candidates that both measured.
        left_out: candidates that the earlier one did not measure.
    """

    source: str
    created: str
    machine: tuple[str, ...]
    tolerance: float
    changes: tuple[Change, ...]
    left_out: tuple[str, ...]

    @property
    def regressions(self) -> tuple[str, ...]:
        """The candidates that are slower by more than the tolerance, as text."""
        return tuple(
            f"{c.name}: {c.ratio.value:.3f} times as long as before, 95 % interval "
            f"{c.ratio.low:.3f} to {c.ratio.high:.3f}, beyond the tolerance of "
            f"{1 + self.tolerance:g} ({c.what.partition(':')[0]})"
            for c in self.changes
            if c.verdict == "regression"
        )


@dataclass(frozen=True)
class BenchReport:
    """``engine_only`` is None if no candidate runs on a GPU; ``throughput`` is images per second
    with several streams, by candidate. ``created`` is the time in UTC; ``number`` is the number of
    the bench in ``history``, None without a history.
    """

    batch: int
    threads: int
    proofs: tuple[Proof, ...]
    end_to_end: Table
    engine_only: Table | None
    streams: int
    throughput: Mapping[str, float]
    verdicts: tuple[Shipped, ...]
    left_out: Mapping[str, str]
    advice: tuple[Advice, ...]
    environment: Environment
    created: str = ""
    history: str | None = None
    number: int | None = None
    comparison: Comparison | None = None
    starts: tuple[Start, ...] = ()
    energy: tuple[Energy, ...] = ()
    settings: tuple[Setting, ...] = ()
    sustained: tuple[Sustained, ...] = ()
    scenarios: tuple[ScenarioResult, ...] = ()

    @property
    def regressions(self) -> tuple[str, ...]:
        """The candidates that are slower than in the earlier bench by more than the tolerance."""
        return self.comparison.regressions if self.comparison else ()

    @property
    def failures(self) -> tuple[str, ...]:
        """The failures of parity, by candidate."""
        return tuple(
            f"{proof.name}: {failure}" for proof in self.proofs for failure in proof.failures
        )

    def ratio(self, candidate: str) -> Ratio:
        """A candidate's latency as a multiple of the reference's, end to end, with its interval.

        Args:
            candidate: its name, or its runtime if only one candidate has that runtime.

        Raises:
            KeyError: there is no such candidate or several, or it has no ratio: the reference, and
                candidates that failed parity.
        """
        rows = {row.name: row for row in self.end_to_end.rows}
        names = [p.name for p in self.proofs if candidate in (p.name, p.runtime)]
        if len(names) != 1:
            raise KeyError(f"{candidate!r} is not one of {', '.join(rows)}")
        ratio = rows[names[0]].ratio
        if ratio is None:
            raise KeyError(f"no ratio of {names[0]} to {self.end_to_end.reference} is available")
        return ratio

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The candidates that passed parity, to compare with another bench."""
        sound = {proof.name: proof for proof in self.proofs if not proof.failures and proof.graph}
        return tuple(
            Sample(
                name=row.name,
                graph=sound[row.name].graph,
                runtime=sound[row.name].runtime,
                version=sound[row.name].version,
                what=table.what,
                batch=self.batch,
                threads=self.threads,
                blocks=row.blocks,
            )
            for table in filter(None, (self.end_to_end, self.engine_only))
            for row in table.rows
            if row.name in sound
        )

    def to_json(self) -> dict[str, Any]:
        """The whole report as JSON types; keys are stable."""
        return {
            **plain(self),
            "failures": list(self.failures),
            "regressions": list(self.regressions),
            "comparison": self.comparison and _with_verdicts(self.comparison),
        }


def _with_verdicts(comparison: Comparison) -> dict[str, Any]:
    changes = [{**plain(change), "verdict": change.verdict} for change in comparison.changes]
    return {**plain(comparison), "changes": changes}
