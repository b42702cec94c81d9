"""Latency of a network's graphs on this machine, against the reference they came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.advice import Advice
from edgekit.artifact import Artifact
from edgekit.latency.cautions import of_measurement
from edgekit.latency.clock import measure as measure_in_turns
from edgekit.machine.environment import Environment, describe
from edgekit.progress import Progress
from edgekit.reports import Latency, LatencyRow
from edgekit.runtimes.base import Array, Session, SessionOptions, as_input
from edgekit.runtimes.onnxruntime import OnnxRuntime


@dataclass(frozen=True)
class Measured:
    latency: Latency
    environment: Environment
    advice: tuple[Advice, ...]


def measure(
    reference: Session,
    name: str,
    graphs: Mapping[str, Artifact],
    images: NDArray[np.float32],
    batch: int,
    progress: Progress,
) -> Measured:
    """Latency of the reference and of each graph in ONNX Runtime, in turns, on real images.

    A graph of static batch is measured at it, and the reference at the same.
    """
    environment = describe()

    with ExitStack() as stack:
        sessions = {name: reference}
        for precision, artifact in graphs.items():
            sessions[f"onnxruntime {precision}"] = stack.enter_context(
                OnnxRuntime().load(artifact, SessionOptions())
            )
        measurement = measure_in_turns(
            {key: synchronous(session, images, batch) for key, session in sessions.items()},
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


def synchronous(
    session: Session, images: NDArray[np.float32], batch: int
) -> Callable[[int], object]:
    """One inference from host memory to host memory, on the i-th batch of images, taken round and
    round.
    """
    feeds = batches_of(session, images, batch)
    return lambda i: session.run(feeds[i % len(feeds)])


def batches_of(session: Session, images: NDArray[np.float32], batch: int) -> list[dict[str, Array]]:
    """Feeds for a session: images ``(N, …)`` in batches, eight at most, the first ones again where
    they do not suffice.
    """
    spec = session.inputs[0]
    starts = range(0, min(len(images), 8 * batch), batch)
    return [
        {spec.name: as_input(spec, np.take(images, range(i, i + batch), axis=0, mode="wrap"))}
        for i in starts
    ]
