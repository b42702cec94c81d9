"""The report of a bench: who took part, whether each computes what it should, and how long each
takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.advice import Advice
from edgekit.comparison import Parity
from edgekit.latency.compare import Sample
from edgekit.latency.statistics import Ratio
from edgekit.latency.verdict import Verdict
from edgekit.machine.environment import Environment
from edgekit.reports.document import LatencyRow
from edgekit.reports.plain import plain


@dataclass(frozen=True)
class Proof:
    """A candidate and its parity with the bundle's golden outputs; ``failures`` is empty where it
    holds, ``version`` the runtime's. ``graph`` is the SHA-256 of the graph that the runtime read,
    empty in reports of older versions.
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
    """One way to measure, in turns; ``noise_floor`` is the reference against itself."""

    what: str
    reference: str
    rows: tuple[LatencyRow, ...]
    noise_floor: Ratio


@dataclass(frozen=True)
class Shipped:
    """Which of an FP16 and an INT8 bundle of one network to ship with a runtime, and why."""

    runtime: str
    network: str
    verdict: Verdict


@dataclass(frozen=True)
class BenchReport:
    """``engine_only`` is None where no candidate runs on a GPU; ``throughput`` holds images a
    second with several streams, by candidate.
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
        """Where parity failed, candidate by candidate."""
        return tuple(
            f"{proof.name}: {failure}" for proof in self.proofs for failure in proof.failures
        )

    def ratio(self, candidate: str) -> Ratio:
        """How long a candidate takes against the reference, end to end, with its interval.

        Args:
            candidate: its name, or its runtime where one candidate has that.

        Raises:
            KeyError: no such candidate, several, or one of which no ratio is told: the reference,
                and what did not show its parity.
        """
        rows = {row.name: row for row in self.end_to_end.rows}
        names = [p.name for p in self.proofs if candidate in (p.name, p.runtime)]
        if len(names) != 1:
            raise KeyError(f"{candidate!r} is not one of {', '.join(rows)}")
        ratio = rows[names[0]].ratio
        if ratio is None:
            raise KeyError(f"no ratio of {names[0]} to {self.end_to_end.reference} is told")
        return ratio

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Every candidate that computes what it should, to compare with another bench."""
        sound = {proof.name: proof for proof in self.proofs if not proof.failures and proof.graph}
        return tuple(
            Sample(
                *(row.name, sound[row.name].graph, sound[row.name].runtime),
                *(sound[row.name].version, table.what, self.batch, self.threads, row.blocks),
            )
            for table in filter(None, (self.end_to_end, self.engine_only))
            for row in table.rows
            if row.name in sound
        )

    def to_json(self) -> dict[str, Any]:
        """The whole report in json's types; keys are stable."""
        return {**plain(self), "failures": list(self.failures)}
