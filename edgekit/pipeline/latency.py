"""Measures the latency of the graphs of an export on this machine, relative to the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from edgekit.advice import Advice
from edgekit.artifact import Artifact, PrecisionName
from edgekit.bundle import CPU_MODEL, MODEL
from edgekit.latency.cautions import of_measurement
from edgekit.latency.clock import measure as measure_in_turns
from edgekit.machine.environment import Environment, describe
from edgekit.pipeline.converted import Context, Converted
from edgekit.progress import Progress
from edgekit.reports import Latency, LatencyRow
from edgekit.runtimes.base import Array, Session, SessionOptions, as_input
from edgekit.runtimes.onnxruntime import OnnxRuntime


@dataclass(frozen=True)
class Measured:
    latency: Latency
    environment: Environment
    advice: tuple[Advice, ...]


def graphs_to_measure(
    converted: Converted, context: Context, precision: PrecisionName
) -> dict[str, Artifact]:
    """The FP32 graph and the one that ships for CPUs, by precision."""
    assert converted.simplified is not None
    shipped = converted.shipped
    return {
        "fp32": context.with_input(converted.simplified),
        precision: shipped.get(CPU_MODEL) or shipped[MODEL],
    }


def measure(
    reference: Session,
    graphs: Mapping[str, Artifact],
    context: Context,
    batch: int,
    progress: Progress,
) -> Measured:
    """The latency of the reference and of each graph in ONNX Runtime, measured in turns on real
    images.

    All have the same batch.
    """
    name = context.network.reference
    feeds = {name: context.images}
    environment = describe()

    with ExitStack() as stack:
        sessions = {name: reference}
        for precision, artifact in graphs.items():
            sessions[f"onnxruntime {precision}"] = stack.enter_context(
                OnnxRuntime().load(artifact, SessionOptions())
            )
            feeds[f"onnxruntime {precision}"] = context.images_for(artifact)
        measurement = measure_in_turns(
            {key: synchronous(session, feeds[key], batch) for key, session in sessions.items()},
            reference=name,
            on_block=lambda done, total: progress.advance(done, total),
        )
    rows = tuple(
        LatencyRow(
            key,
            timing.summary,
            None if key == name else measurement.ratio(key),
            timing.warm_up.settled,
            timing.medians,
        )
        for key, timing in measurement.timings.items()
    )
    environment = environment.finished()
    latency = Latency(name, batch, SessionOptions().cpu_threads, rows, measurement.noise_floor)
    return Measured(latency, environment, of_measurement(measurement, environment))


def synchronous(session: Session, images: Array, batch: int) -> Callable[[int], object]:
    """One inference from host memory to host memory, on the i-th batch of images, taken round and
    round.
    """
    feeds = batches_of(session, images, batch)
    return lambda i: session.run(feeds[i % len(feeds)])


def batches_of(session: Session, images: Array, batch: int) -> list[dict[str, Array]]:
    """Feeds for a session: images ``(N, …)`` in batches, eight at most, the first ones again where
    they do not suffice.
    """
    spec = session.inputs[0]
    starts = range(0, min(len(images), 8 * batch), batch)
    return [
        {spec.name: as_input(spec, np.take(images, range(i, i + batch), axis=0, mode="wrap"))}
        for i in starts
    ]
