"""Measures the time of each layer with TensorRT's profiler. Use it for shares of time, never for a
latency.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from edgekit.runtimes.base import Array
from edgekit.runtimes.tensorrt.api import Module
from edgekit.runtimes.tensorrt.running.session import EngineSession

RUNS = 20


def layer_times(
    session: EngineSession, feeds: Mapping[str, Array], runs: int = RUNS
) -> dict[str, float]:
    """Median milliseconds per layer over ``runs`` inferences. Layers with the same name are added
    up.

    The names are those of the engine inspector. The profiler runs layers one after another with
    pauses, so their sum is not a latency.
    """
    taken: list[dict[str, float]] = []
    session.bind(feeds)
    with session.profiled(_recorder(session.trt, taken)):
        for _ in range(runs + 1):  # the first run is a warm-up
            taken.append(defaultdict(float))
            session.enqueue()
            session.synchronize()
    return {name: median(run[name] for run in taken[1:]) for name in taken[-1]}


def _recorder(trt: Module, taken: Sequence[dict[str, float]]) -> Any:
    base: Any = trt.IProfiler

    class Recorder(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            taken[-1][layer_name] += ms

    return Recorder()
