"""The report of an upgrade check: the differences of two sides, and which of them are worse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgekit.errors import InputError
from edgekit.latency.compare import Change
from edgekit.reports.plain import plain

SCHEMA_VERSION = 1
Outcome = Literal["worse", "better", "no difference shown", "not compared"]


@dataclass(frozen=True)
class Tolerances:
    """The largest accepted losses: ``latency``, ``size`` and ``agreement`` as fractions, ``sqnr``
    in dB.

    Raises:
        InputError: a tolerance is negative.
    """

    latency: float = 0.05
    sqnr: float = 1.0
    agreement: float = 0.01
    size: float = 0.10

    def __post_init__(self) -> None:
        for name in ("latency", "sqnr", "agreement", "size"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"`{name}` {value:g} is negative", hint="use 0 or more")


@dataclass(frozen=True)
class Version:
    """A version of a package or driver; None if a side does not have it."""

    name: str
    before: str | None
    now: str | None


@dataclass(frozen=True)
class Figure:
    """A figure of one network before and now.

    Args:
        of: the network and precision, or the engine.
        what: the number, such as the SQNR of a rung.
        before: the number, in ``unit``; None if it was not measured.
        now: the same.
        change: ``now - before``, or ``now / before`` for a size. ``interval`` is its 95 % interval
            if it was counted on images; None if it is exact.
        outcome: ``worse`` if it is beyond the tolerance with its whole interval.
        why: the reason of the outcome.
    """

    of: str
    what: str
    unit: str
    before: float | None
    now: float | None
    change: float | None
    interval: tuple[float, float] | None
    outcome: Outcome
    why: str


@dataclass(frozen=True)
class LayerChange:
    """A layer of an engine that computes in another precision than before."""

    engine: str
    layer: str
    before: str
    now: str
    matrix: bool
    wider: bool


@dataclass(frozen=True)
class Latency:
    """The latency of one candidate. ``why_not`` is the reason why it is not compared; empty if it
    is compared.
    """

    of: str
    change: Change
    why_not: str

    @property
    def outcome(self) -> Outcome:
        if self.why_not:
            return "not compared"
        if self.change.verdict == "regression":
            return "worse"
        return "better" if self.change.verdict == "faster" else "no difference shown"


@dataclass(frozen=True)
class UpgradeReport:
    """``left_out`` has the items that were not compared, and the reasons."""

    old: str
    new: str
    tolerances: Tolerances
    versions: tuple[Version, ...]
    machine: tuple[str, ...]
    figures: tuple[Figure, ...]
    layers: tuple[LayerChange, ...]
    latencies: tuple[Latency, ...]
    left_out: Mapping[str, str]
    schema_version: int = SCHEMA_VERSION

    @property
    def worse(self) -> tuple[str, ...]:
        """What got worse by more than its tolerance, as text; empty if nothing did."""
        figures = [f"{f.of}: {f.what}: {f.why}" for f in self.figures if f.outcome == "worse"]
        layers = [
            f"{c.engine}: {c.layer} computes in {c.now}, before in {c.before}"
            for c in self.layers
            if c.wider and c.matrix
        ]
        latencies = [
            f"{each.of}, {each.change.what}: {slower(each.change)}"
            for each in self.latencies
            if each.outcome == "worse"
        ]
        return (*figures, *layers, *latencies)

    @property
    def ok(self) -> bool:
        return not self.worse

    def to_json(self) -> dict[str, Any]:
        """The whole report as JSON types; keys are stable within a ``schema_version``."""
        latencies = [
            {**plain(each), "verdict": each.change.verdict, "outcome": each.outcome}
            for each in self.latencies
        ]
        return {**plain(self), "latencies": latencies, "worse": list(self.worse), "ok": self.ok}


def slower(change: Change) -> str:
    """An increased latency as text."""
    r = change.ratio
    return (
        f"{change.before:.3f} ms, now {change.now:.3f} ms: {r.value:.3f} times as long "
        f"[{r.low:.3f}, {r.high:.3f}], more than the accepted {1 + change.tolerance:g}"
    )
