"""The phases of an inference on a GPU, with a double and a simulated time."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

import numpy as np
import pytest

from edgekit.artifact import TensorSpec
from edgekit.latency.clock import DeviceRun
from edgekit.latency.phases import cautions, engine_only, on_gpu
from edgekit.latency.throughput import rates
from edgekit.runtimes.base import Array


class GpuDouble:
    """A session that takes the milliseconds it is told for each phase; work enqueued is done when
    somebody waits.
    """

    inputs = (TensorSpec("x", (1, 3), "float32"),)
    outputs = (TensorSpec("y", (1, 4), "float32"),)

    def __init__(
        self, *, copy_in: float = 0.0, enqueue: float = 0.01, compute: float = 1.0
    ) -> None:
        self.took = {"copy_in": copy_in, "enqueue": enqueue, "compute": compute}
        self.now, self.pending, self.calls = 0.0, 0.0, list[str]()

    def clock(self) -> int:
        return round(self.now * 1e6)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        raise AssertionError("phases never run end to end")

    def bind(self, feeds: Mapping[str, Array]) -> None:
        self.calls.append("bind")
        self.pending += self.took["copy_in"]

    def enqueue(self) -> None:
        self.calls.append("enqueue")
        self.now += self.took["enqueue"]
        self.pending += self.took["compute"]

    def synchronize(self) -> None:
        self.calls.append("synchronize")
        self.now, self.pending = self.now + self.pending, 0.0

    def __enter__(self) -> GpuDouble:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to release."""


class EventsDouble(GpuDouble):
    """A session whose device measures the time."""

    notes = ("no CUDA graph",)

    def device_ms(self) -> float:
        self.calls.append("device_ms")
        return self.took["compute"]


FEEDS = {"x": np.zeros((1, 3), np.float32)}


def test_the_time_of_the_device_is_used() -> None:
    session = EventsDouble(compute=2.5)
    run = engine_only(session, FEEDS)
    assert isinstance(run, DeviceRun)
    assert session.calls == ["bind"]
    assert run.run(0) == 2.5
    assert session.calls == ["bind", "device_ms"]


def test_without_device_time_the_host_measures_from_enqueue_to_end() -> None:
    session = GpuDouble()
    run = engine_only(session, FEEDS)
    assert callable(run)
    session.calls.clear()
    run(0)
    assert session.calls == ["enqueue", "synchronize"]


def test_which_sessions_are_on_a_gpu() -> None:
    assert on_gpu(EventsDouble())
    assert not on_gpu(GpuDouble())


def _told(session: GpuDouble, end_to_end: float) -> list[str]:
    return [
        caution.message
        for caution in cautions(
            "trt", session, FEEDS, session.took["compute"], end_to_end, session.clock
        )
    ]


def test_an_engine_without_problems_has_only_its_notes() -> None:
    assert _told(EventsDouble(copy_in=0.1, enqueue=0.1, compute=1.0), 1.3) == ["trt: no CUDA graph"]


def test_enqueueing_that_takes_most_of_the_time() -> None:
    told = _told(EventsDouble(enqueue=0.9, compute=1.0), 1.1)
    assert (
        told[0]
        == "trt: enqueueing takes 0.900 ms, and the GPU 1.000 ms: the CPU slows the GPU down"
    )


@pytest.mark.parametrize(
    ("copy_in", "end_to_end", "named"),
    [
        (1.2, 2.3, "copying in 1.200 ms, and the GPU"),
        (0.2, 2.4, "copying out 1.200 ms, and the GPU"),
        (1.5, 4.0, "copying in 1.500 ms and copying out 1.500 ms"),
    ],
)
def test_copies_that_take_as_long_as_computing(
    copy_in: float, end_to_end: float, named: str
) -> None:
    told = _told(EventsDouble(copy_in=copy_in), end_to_end)
    assert told[0].startswith(f"trt: {named}")


def test_without_device_time_no_warning_is_guessed() -> None:
    assert _told(GpuDouble(copy_in=9.0), 20.0) == []


def test_rates_count_what_is_done_in_turns() -> None:
    """Both share a clock here: the slower one's inferences take four times as long."""
    one = GpuDouble(enqueue=1.0, compute=0.0)

    class Shared(GpuDouble):
        def enqueue(self) -> None:
            one.now += 4.0

        def synchronize(self) -> None:
            one.synchronize()

    blocks: list[tuple[int, int]] = []
    found = rates(
        {"one": one, "four": Shared()},
        seconds=1.0,
        on_block=lambda *done: blocks.append(done),
        clock=one.clock,
    )
    assert found == {"one": pytest.approx(1000), "four": pytest.approx(250)}
    assert blocks == [(i, 5) for i in range(1, 6)]
