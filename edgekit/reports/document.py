"""The report of an export: what was made, what was measured, what to do next."""

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


@dataclass(frozen=True)
class LatencyRow:
    """A runtime and precision: milliseconds for one batch, and the ratio to the reference (None for
    the reference itself, and in a bench where parity failed on either side). ``blocks`` are the
    medians of the blocks."""

    name: str
    summary: Summary
    ratio: Ratio | None
    settled: bool
    blocks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Latency:
    """End to end on this machine's CPU, candidates in turns; ``noise_floor`` is the reference
    against itself.
    """

    reference: str
    batch: int
    threads: int
    rows: tuple[LatencyRow, ...]
    noise_floor: Ratio


@dataclass(frozen=True)
class Report:
    """``seconds`` of the whole export, ``peak_megabytes`` the largest resident size of the process;
    ``path`` is None where a gate failed.
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

    @property
    def failures(self) -> tuple[str, ...]:
        """What failed, rung by rung."""
        return tuple(f"{rung.name}: {failure}" for rung in self.ladder for failure in rung.failures)

    @property
    def next_commands(self) -> tuple[str, ...]:
        if self.path is None:
            return ()
        verbs = ("run {} photo.jpg", "verify {}", "bench {}", "build {}")
        return tuple(f"edgekit {verb.format(shown(self.path))}" for verb in verbs)

    def to_json(self) -> dict[str, Any]:
        """The whole report in json's types; keys are stable."""
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
    """A path as a user would type it from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
