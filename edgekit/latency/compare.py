"""Compares a measurement with an earlier one of the same graph, by the medians of their blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from edgekit.latency.statistics import Ratio, ratio_of_runs

TOLERANCE = 0.05
Verdict = Literal["regression", "no difference shown", "faster"]


@dataclass(frozen=True)
class Sample:
    """One candidate of one bench.

    Args:
        name: of the candidate in the bench.
        graph: the SHA-256 of the graph that the runtime read.
        runtime: its name.
        version: of the runtime.
        what: the kind of measurement, such as end to end.
        batch: images at once.
        threads: CPU threads.
        blocks: the median of each block in milliseconds.
    """

    name: str
    graph: str
    runtime: str
    version: str | None
    what: str
    batch: int
    threads: int
    blocks: tuple[float, ...]

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        """The values that must be equal to compare two samples."""
        return (self.graph, self.runtime, self.what, self.batch, self.threads)


@dataclass(frozen=True)
class Change:
    """A candidate now and before, in milliseconds. ``ratio`` is the latency now as a fraction of
    the earlier one; above 1 is slower.
    """

    name: str
    what: str
    versions: tuple[str | None, str | None]
    before: float
    now: float
    ratio: Ratio
    tolerance: float

    @property
    def verdict(self) -> Verdict:
        """Slower (a regression) or faster only if the whole interval is beyond the tolerance.

        An interval without 1 is not enough: it does not contain the differences between two
        processes, and most pairs of benches of the same graph have such an interval.
        """
        if not self.ratio.beyond(self.tolerance):
            return "no difference shown"
        return "regression" if self.ratio.slower else "faster"


def compare(before: Sample, now: Sample, tolerance: float = TOLERANCE) -> Change:
    """Compares one candidate. The graph and the runtime may differ; the caller checks them.

    Raises:
        ValueError: one has fewer than two blocks, or the two were measured in different ways.
    """
    ways = [(s.what, s.batch, s.threads) for s in (before, now)]
    if ways[0] != ways[1]:
        raise ValueError(f"{before.name} was measured in another way: {ways[0]}, now {ways[1]}")
    ratio = ratio_of_runs(now.blocks, before.blocks)
    return Change(
        now.name,
        now.what,
        (before.version, now.version),
        median(before.blocks),
        median(now.blocks),
        ratio,
        tolerance,
    )


def compare_all(
    before: Sequence[Sample], now: Sequence[Sample], tolerance: float = TOLERANCE
) -> tuple[Change, ...]:
    """Compares all candidates with the same graph, runtime, batch and threads."""
    earlier = {sample.key: sample for sample in before if len(sample.blocks) > 1}
    return tuple(
        compare(earlier[sample.key], sample, tolerance)
        for sample in now
        if sample.key in earlier and len(sample.blocks) > 1
    )
