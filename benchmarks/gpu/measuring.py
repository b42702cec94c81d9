"""One row: builds, audits and checks engines, then measures them in turns with PyTorch's
candidates.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from deadline import Deadline, OutOfTime
from dumps import dump
from entries import EngineEntry, Row, TorchEntry
from link import TorchFailed, TorchSide
from networks import PRECISIONS, bundle_name
from torch_side import KINDS
from turns import Opened, Say, Settings, cautions_of, gpu_states, measure, table, verdict_of

from edgekit.artifact import PrecisionName
from edgekit.bundle import GOLDEN, Bundle
from edgekit.errors import EdgekitError, GateFailed
from edgekit.pipeline.latency import batches_of
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.tensorrt import BuildConfig, Builder
from edgekit.runtimes.tensorrt.running.layertimes import layer_times
from edgekit.tasks.build import Built, audit_of, build

DEVICE = "without copies: inputs and outputs stay on the GPU"


END_TO_END = "end to end: copy in, run, copy out"


COMPILE_SECONDS = 600.0


def build_row(
    row: Row, folder: Path, builder: Builder, settings: Settings, deadline: Deadline, say: Say
) -> Row:
    """Builds the engines of a row for its architecture, without running them.

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
    """Measures a row. Parts that fail have their error instead.

    Raises:
        OutOfTime: the time was over before the row was complete.
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
            clocks, made = measure(engines, torch, made, row.batch, settings, say)
            update = {
                "device": table(DEVICE, clocks.device),
                "end_to_end": table(END_TO_END, clocks.end_to_end),
                "verdict": verdict_of(engines, clocks.device),
                "cautions": cautions_of(engines, clocks),
                **gpu_states(clocks.environment),
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
    """Builds an engine only for the batch of the row, audits it, and checks it on the golden images
    if it runs here.

    Raises:
        EdgekitError: as :func:`edgekit.tasks.build.build`, also if it misses its gate.
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
    """The entry of the engine with the share of time of each precision, from timed layers."""
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
    """Prepares PyTorch's candidates, or has the reasons why not.

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


# ---- small things


def _told(error: Exception) -> str:
    """An error in one line, with its type if edgekit did not raise it on purpose."""
    return error.message if isinstance(error, EdgekitError) else f"{type(error).__name__}: {error}"


def _trained(row: Row, folder: Path) -> bool | None:
    """None if there is no bundle."""
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
