"""Both clocks of a row: engines and PyTorch's candidates measured in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bars import FP16, INT8
from entries import EngineEntry, TorchEntry
from link import TorchFailed, TorchSide
from numpy.typing import NDArray

from edgekit.bundle import Bundle
from edgekit.latency import clock, phases
from edgekit.latency.cautions import of_measurement
from edgekit.latency.verdict import Contender, Verdict, verdict
from edgekit.machine.environment import Environment, describe
from edgekit.pipeline.latency import synchronous
from edgekit.reports.bench import Table
from edgekit.reports.document import LatencyRow
from edgekit.reports.plain import plain
from edgekit.runtimes.base import Array
from edgekit.runtimes.tensorrt.running.session import EngineSession
from edgekit.tasks.build import Built

Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """``seconds`` is the measuring time of each candidate, ``warm_up`` the longest warm-up in
    seconds. ``timing_cache`` is the folder of TensorRT's timing caches. ``dumps`` is a folder for
    the output of inspector and profiler.
    """

    seconds: float = 1.0
    warm_up: float = 3.0
    opt_level: int | None = None
    timing_cache: Path | None = None
    dumps: Path | None = None


@dataclass(frozen=True)
class Opened:
    """A checked engine that runs here."""

    bundle: Bundle
    built: Built
    session: EngineSession
    images: NDArray[np.float32]
    feeds: Mapping[str, Array]
    entry: EngineEntry


@dataclass(frozen=True)
class Clocks:
    """The measurements with both clocks in an ``environment``."""

    device: clock.Measurement
    end_to_end: clock.Measurement
    environment: Environment


# ---- the clock


def measure(
    engines: Mapping[str, Opened],
    torch: TorchSide | None,
    made: Mapping[str, TorchEntry],
    batch: int,
    settings: Settings,
    say: Say,
) -> tuple[Clocks, dict[str, TorchEntry]]:
    """Measures with both clocks. If PyTorch's process ends, its candidates fail and are left out."""
    entries = dict(made)
    environment = describe()
    device = {
        name: phases.engine_only(engine.session, engine.feeds) for name, engine in engines.items()
    }
    whole: dict[str, clock.Candidate] = {
        name: synchronous(engine.session, engine.images, batch) for name, engine in engines.items()
    }
    while True:
        kinds = [kind for kind, entry in entries.items() if entry.error is None]
        try:
            say("latency without copies")
            first = _in_turns(device, torch, kinds, "device", settings)
            say("latency end to end")
            second = _in_turns(whole, torch, kinds, "end_to_end", settings)
            return Clocks(first, second, environment.finished()), entries
        except TorchFailed as error:
            entries |= {kind: TorchEntry(error=error.message) for kind in kinds}


def _in_turns(
    engines: Mapping[str, clock.Candidate],
    torch: TorchSide | None,
    kinds: list[str],
    how: str,
    settings: Settings,
) -> clock.Measurement:
    theirs = (
        {f"torch {kind}": torch.candidate(kind, how) for kind in kinds} if torch is not None else {}
    )
    reference = FP16 if FP16 in engines else next(iter(engines))
    return clock.measure(
        {**engines, **theirs},
        reference=reference,
        seconds=settings.seconds,
        max_warm_up=settings.warm_up,
    )


def table(what: str, measurement: clock.Measurement) -> Table:
    """Engines that missed their gate are no candidates, so all ratios may be reported."""
    rows = (
        LatencyRow(
            name,
            timing.summary,
            None if name == measurement.reference else measurement.ratio(name),
            timing.warm_up.settled,
        )
        for name, timing in measurement.timings.items()
    )
    return Table(what, measurement.reference, tuple(rows), measurement.noise_floor)


def verdict_of(engines: Mapping[str, Opened], measurement: clock.Measurement) -> Verdict | None:
    """None if one of the two was not measured, for example because it missed its gate."""
    if not {FP16, INT8} <= set(engines):
        return None
    return verdict(
        *(
            Contender(
                measurement.timings[name].medians, (), phases.reformats(engines[name].session)
            )
            for name in (FP16, INT8)
        )
    )


def cautions_of(engines: Mapping[str, Opened], clocks: Clocks) -> tuple[str, ...]:
    found = [*of_measurement(clocks.device, clocks.environment)]
    for name, engine in engines.items():
        compute, end_to_end = (
            m.timings[name].summary.median for m in (clocks.device, clocks.end_to_end)
        )
        found += phases.cautions(name, engine.session, engine.feeds, compute, end_to_end)
    return tuple(caution.message for caution in found)


def gpu_states(environment: Environment) -> dict[str, Any]:
    """Clocks, power and temperature of the first GPU before and after."""
    states = {"gpu_before": environment.before, "gpu_after": environment.after}
    return {
        key: plain(state.gpus[0]) if state is not None and state.gpus else None
        for key, state in states.items()
    }
