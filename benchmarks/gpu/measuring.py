"""One row: engines built, audited and proven, then measured in turns with PyTorch's candidates."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bars import FP16, INT8
from deadline import Deadline, OutOfTime
from dumps import dump
from entries import EngineEntry, Row, TorchEntry
from link import TorchFailed, TorchSide
from networks import PRECISIONS, bundle_name
from numpy.typing import NDArray
from torch_side import KINDS

from edgekit.artifact import PrecisionName
from edgekit.bundle import GOLDEN, Bundle
from edgekit.errors import EdgekitError, GateFailed
from edgekit.latency import clock, phases
from edgekit.latency.cautions import of_measurement
from edgekit.latency.verdict import Contender, Verdict, verdict
from edgekit.machine.environment import Environment, describe
from edgekit.pipeline.latency import batches_of, synchronous
from edgekit.reports.bench import Table
from edgekit.reports.document import LatencyRow
from edgekit.reports.plain import plain
from edgekit.runtimes.base import Array, SessionOptions
from edgekit.runtimes.tensorrt import BuildConfig, Builder
from edgekit.runtimes.tensorrt.running.layertimes import layer_times
from edgekit.runtimes.tensorrt.running.session import EngineSession
from edgekit.tasks.build import Built, audit_of, build

DEVICE = "without copies: inputs and outputs stay on the GPU"
END_TO_END = "end to end: copy in, run, copy out"
COMPILE_SECONDS = 600.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """``seconds`` of the clock for each candidate, ``warm_up`` seconds at most before that;
    ``timing_cache`` is TensorRT's, a folder.

    ``dumps`` is a folder for what inspector and profiler tell.
    """

    seconds: float = 1.0
    warm_up: float = 3.0
    opt_level: int | None = None
    timing_cache: Path | None = None
    dumps: Path | None = None


@dataclass(frozen=True)
class Opened:
    """An engine that runs here, proven."""

    bundle: Bundle
    built: Built
    session: EngineSession
    images: NDArray[np.float32]
    feeds: Mapping[str, Array]
    entry: EngineEntry


@dataclass(frozen=True)
class Clocks:
    """Both measurements, made in ``environment``."""

    device: clock.Measurement
    end_to_end: clock.Measurement
    environment: Environment


def build_row(
    row: Row, folder: Path, builder: Builder, settings: Settings, deadline: Deadline, say: Say
) -> Row:
    """The engines of a row built for its architecture, and no more.

    Raises:
        OutOfTime: the time was over before all were built.
    """
    began = time.perf_counter()
    entries: dict[PrecisionName, EngineEntry] = {}
    for precision in PRECISIONS:
        say(f"{precision} engine")
        try:
            bundle = Bundle.open(folder / bundle_name(row.network, precision))
            entries[precision] = _build(bundle, builder, row, settings, deadline, row.sm)[1]
        except OutOfTime:
            raise
        except Exception as error:  # noqa: BLE001 - recorded, and what is left goes on
            entries[precision] = EngineEntry(error=_told(error))
    return row.model_copy(
        update={"trained": _trained(row, folder), "engines": entries, "seconds": _since(began)}
    )


def measure_row(
    row: Row,
    folder: Path,
    builder: Builder,
    torch: TorchSide | None,
    settings: Settings,
    deadline: Deadline,
    say: Say,
) -> Row:
    """The row with everything that could be had; what could not says why in its place.

    Raises:
        OutOfTime: the time was over before it was whole.
    """
    began = time.perf_counter()
    entries: dict[PrecisionName, EngineEntry] = {}
    opened: dict[PrecisionName, Opened] = {}
    update: dict[str, Any] = {"error": "there is no engine to measure"}
    with ExitStack() as stack:
        for precision in PRECISIONS:
            say(f"{precision} engine")
            try:
                bundle = Bundle.open(folder / bundle_name(row.network, precision))
                opened[precision] = _open(bundle, builder, row, settings, deadline, stack)
                entries[precision] = opened[precision].entry
            except OutOfTime:
                raise
            except Exception as error:  # noqa: BLE001 - recorded, and what is left goes on
                entries[precision] = EngineEntry(error=_told(error))
        made: dict[str, TorchEntry] = {}
        if torch is not None and opened:
            made = _open_torch(
                torch, row, next(iter(opened.values())).bundle.path / GOLDEN, deadline, say
            )
        if opened:
            engines = {f"engine {precision}": engine for precision, engine in opened.items()}
            clocks, made = _measure(engines, torch, made, row.batch, settings, say)
            update = {
                "device": _table(DEVICE, clocks.device),
                "end_to_end": _table(END_TO_END, clocks.end_to_end),
                "verdict": _verdict(engines, clocks.device),
                "cautions": _cautions(engines, clocks),
                **_gpu_states(clocks.environment),
            }
            entries |= {
                precision: _with_times(builder, engine, row, settings)
                for precision, engine in opened.items()
            }
        if torch is not None and torch.alive:
            torch.order("close")
    return row.model_copy(
        update={
            **update,
            "trained": _trained(row, folder),
            "engines": entries,
            "torch": made,
            "seconds": _since(began),
        }
    )


# ---- engines


def _build(
    bundle: Bundle,
    builder: Builder,
    row: Row,
    settings: Settings,
    deadline: Deadline,
    capability: str | None = None,
) -> tuple[Built, EngineEntry]:
    """An engine for the row's batch alone, audited, and proven on the golden images where it runs
    here.

    Raises:
        EdgekitError: as :func:`edgekit.tasks.build.build`; a gate that is not met among them.
    """
    deadline.check()
    config = BuildConfig(
        capability,
        ((row.batch, row.batch, row.batch),),
        settings.opt_level,
        timing_cache=settings.timing_cache,
    )
    began = time.perf_counter()
    try:
        built = build(bundle, builder, config, on_phase=lambda done, total, what: deadline.check())
    except GateFailed:
        if (
            settings.dumps is not None
        ):  # what a refused engine is made of is of interest all the more
            dump(
                builder,
                builder.build(
                    bundle.artifact, settings.dumps / f"{_dump_name(row, bundle)}.engine", config
                ),
                _dump_name(row, bundle),
                settings.dumps,
            )
        raise
    record = built.engine.record
    return built, EngineEntry(
        gate=bundle.manifest.gate,
        seconds=None if built.reused else _since(began),
        megabytes=built.engine.megabytes,
        golden=record.golden,
        audit=built.audit,
        notes=record.notes,
    )


def _open(
    bundle: Bundle,
    builder: Builder,
    row: Row,
    settings: Settings,
    deadline: Deadline,
    stack: ExitStack,
) -> Opened:
    built, entry = _build(bundle, builder, row, settings, deadline)
    images = bundle.golden().inputs
    session = stack.enter_context(builder.load(built.artifact, SessionOptions()))
    feeds = batches_of(session, images, row.batch)[0]
    session.bind(feeds)
    return Opened(
        bundle,
        built,
        session,
        images,
        feeds,
        entry.model_copy(update={"captured": session.captured}),
    )


def _with_times(builder: Builder, engine: Opened, row: Row, settings: Settings) -> EngineEntry:
    """The engine's entry with the share of time of each precision, its layers timed one by one."""
    times = layer_times(engine.session, engine.feeds)
    dump(builder, engine.built.artifact, _dump_name(row, engine.bundle), settings.dumps, times)
    return engine.entry.model_copy(
        update={"audit": audit_of(engine.built.engine.record, engine.bundle.manifest, times)}
    )


def _dump_name(row: Row, bundle: Bundle) -> str:
    return f"{bundle.path.name}-batch{row.batch}"


# ---- PyTorch


def _open_torch(
    torch: TorchSide, row: Row, golden: Path, deadline: Deadline, say: Say
) -> dict[str, TorchEntry]:
    """PyTorch's candidates, ready to run, or why they are not.

    Raises:
        OutOfTime: the time was over.
    """
    made: dict[str, TorchEntry] = {}
    for kind in KINDS:
        say(f"torch {kind}")
        try:
            if not made:
                wait = deadline.left_of(COMPILE_SECONDS)
                torch.order(
                    "open",
                    network=row.network,
                    golden=str(golden.resolve()),
                    batch=row.batch,
                    wait=wait,
                )
            answer = torch.order("candidate", kind=kind, wait=deadline.left_of(COMPILE_SECONDS))
            made[kind] = TorchEntry(seconds=round(float(answer["seconds"]), 1), sqnr=answer["sqnr"])
        except TorchFailed as error:
            made[kind] = TorchEntry(error=error.message)
        deadline.check()
    return made


# ---- the clock


def _measure(
    engines: Mapping[str, Opened],
    torch: TorchSide | None,
    made: Mapping[str, TorchEntry],
    batch: int,
    settings: Settings,
    say: Say,
) -> tuple[Clocks, dict[str, TorchEntry]]:
    """Both clocks; and PyTorch's candidates, which all fail, and are left out, where their process
    ends on the way.
    """
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


def _table(what: str, measurement: clock.Measurement) -> Table:
    """No engine that missed its gate is among the candidates, so that every ratio may be told."""
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


def _verdict(engines: Mapping[str, Opened], measurement: clock.Measurement) -> Verdict | None:
    """None where one of the two was not measured, as one that missed its gate."""
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


def _cautions(engines: Mapping[str, Opened], clocks: Clocks) -> tuple[str, ...]:
    found = [*of_measurement(clocks.device, clocks.environment)]
    for name, engine in engines.items():
        compute, end_to_end = (
            m.timings[name].summary.median for m in (clocks.device, clocks.end_to_end)
        )
        found += phases.cautions(name, engine.session, engine.feeds, compute, end_to_end)
    return tuple(caution.message for caution in found)


def _gpu_states(environment: Environment) -> dict[str, Any]:
    """Clocks, power and temperature of the first GPU before and after."""
    states = {"gpu_before": environment.before, "gpu_after": environment.after}
    return {
        key: plain(state.gpus[0]) if state is not None and state.gpus else None
        for key, state in states.items()
    }


# ---- small things


def _told(error: Exception) -> str:
    """An error in a line; one that edgekit did not raise on purpose with its type."""
    return error.message if isinstance(error, EdgekitError) else f"{type(error).__name__}: {error}"


def _trained(row: Row, folder: Path) -> bool | None:
    """None where there is no bundle to ask."""
    for precision in PRECISIONS:
        try:
            return Bundle.open(
                folder / bundle_name(row.network, precision)
            ).manifest.weights.trained
        except EdgekitError:
            continue
    return None


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 1)
