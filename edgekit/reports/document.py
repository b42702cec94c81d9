"""The report of an export: graphs, measurements, and the next commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.advice import Advice
from edgekit.bundle.manifest import (
    CalibrationEntry,
    ImagesEntry,
    KeptEntry,
    NetworkEntry,
    WeightsEntry,
)
from edgekit.comparison import Rung
from edgekit.latency.statistics import Ratio, Summary
from edgekit.machine.environment import Environment
from edgekit.reports.plain import plain
from edgekit.sources.learning import Learning


@dataclass(frozen=True)
class LatencyRow:
    """The latency of a runtime and precision in milliseconds per batch, and the ratio to the
    reference (None for the reference itself, and in a bench if parity failed on either side).
    ``blocks`` are the medians of the blocks.
    """

    name: str
    summary: Summary
    ratio: Ratio | None
    settled: bool
    blocks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Latency:
    """End-to-end latencies on this machine's CPU, measured in turns; ``noise_floor`` is the
    reference compared with itself.
    """

    reference: str
    batch: int
    threads: int
    rows: tuple[LatencyRow, ...]
    noise_floor: Ratio


@dataclass(frozen=True)
class Report:
    """``seconds`` is the time of the whole export, ``peak_megabytes`` the largest resident size of
    the process. ``path`` is None if a gate failed. ``learning`` are the curves of the training, for
    a network that was trained here.
    """

    network: NetworkEntry
    weights: WeightsEntry
    precision: str
    input: str
    images: ImagesEntry
    ladder: tuple[Rung, ...]
    kept: tuple[KeptEntry, ...]
    calibration: CalibrationEntry | None
    latency: Latency | None
    environment: Environment
    tools: Mapping[str, str]
    advice: tuple[Advice, ...]
    seconds: float
    peak_megabytes: float
    path: Path | None
    learning: Learning | None = None

    @property
    def failures(self) -> tuple[str, ...]:
        """The failures, by rung."""
        return tuple(f"{rung.name}: {failure}" for rung in self.ladder for failure in rung.failures)

    @property
    def next_commands(self) -> tuple[str, ...]:
        if self.path is None:
            return ()
        verbs = ("run {} photo.jpg", "verify {}", "bench {}", "build {}")
        return tuple(f"edgekit {verb.format(shown(self.path))}" for verb in verbs)

    def to_json(self) -> dict[str, Any]:
        """The whole report as json types; keys are stable."""
        ladder = [
            {
                **plain(rung),
                "top1_interval": rung.parity and rung.parity.interval,
                "verdict": rung.verdict,
            }
            for rung in self.ladder
        ]
        return {
            **plain(self),
            "ladder": ladder,
            "failures": list(self.failures),
            "next": list(self.next_commands),
        }


def shown(path: Path) -> str:
    """A path as a user would type it in the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
