"""The report of a bench: the candidates, their parity, and their latency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.advice import Advice
from edgekit.comparison import Parity
from edgekit.latency.statistics import Ratio
from edgekit.latency.verdict import Verdict
from edgekit.machine.environment import Environment
from edgekit.reports.document import LatencyRow
from edgekit.reports.plain import plain


@dataclass(frozen=True)
class Proof:
    """A candidate and its parity with the bundle's golden outputs; ``failures`` is empty if it
    passes, ``version`` is the runtime's.
    """

    name: str
    bundle: str
    network: str
    precision: str
    runtime: str
    version: str | None
    parity: Parity
    failures: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Latencies measured in one way; ``noise_floor`` is the reference compared with itself."""

    what: str
    reference: str
    rows: tuple[LatencyRow, ...]
    noise_floor: Ratio


@dataclass(frozen=True)
class Shipped:
    """The verdict which of an FP16 and an INT8 bundle of one network to ship with a runtime."""

    runtime: str
    network: str
    verdict: Verdict


@dataclass(frozen=True)
class BenchReport:
    """``engine_only`` is None if no candidate runs on a GPU; ``throughput`` is images per second
    with several streams, by candidate.
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

    def to_json(self) -> dict[str, Any]:
        """The whole report as json types; keys are stable."""
        return {**plain(self), "failures": list(self.failures)}
