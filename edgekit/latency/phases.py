"""The phases of an inference on a GPU: enqueueing, copying in, computing, copying out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Protocol, runtime_checkable

from edgekit.advice import Advice
from edgekit.latency.cautions import copy_bound, enqueue_bound
from edgekit.latency.clock import Candidate, Clock, DeviceRun
from edgekit.runtimes.base import Array, Session

RUNS = 25

Feeds = Mapping[str, Array]


@runtime_checkable
class DeviceTimed(Protocol):
    """A session whose device measures the milliseconds of one inference, without copies."""

    def device_ms(self) -> float: ...


class Layer(Protocol):
    @property
    def role(self) -> str: ...


@runtime_checkable
class Inspected(Protocol):
    """A session that reports the layers of its engine."""

    def layers(self) -> Sequence[Layer]: ...


def on_gpu(session: Session) -> bool:
    """Whether a session keeps the bound feeds on a device, so that ``enqueue`` copies nothing."""
    return isinstance(session, DeviceTimed) or getattr(session, "on_device", False)


def reformats(session: Session) -> int | None:
    """The number of engine layers that only convert formats or types; None if unknown."""
    return (
        sum(layer.role == "reformat" for layer in session.layers())
        if isinstance(session, Inspected)
        else None
    )


def engine_only(session: Session, feeds: Feeds) -> Candidate:
    """One inference without copies: measured by device events if available, else by the host's
    clock from enqueueing to the end.
    """
    session.bind(feeds)
    if isinstance(session, DeviceTimed):
        timed = session
        return DeviceRun(lambda i: timed.device_ms())

    def run(i: int) -> None:
        session.enqueue()
        session.synchronize()

    return run


def cautions(
    name: str,
    session: Session,
    feeds: Feeds,
    compute: float,
    end_to_end: float,
    clock: Clock = time.perf_counter_ns,
) -> Iterator[Advice]:
    """The warnings of trtexec for a session. ``compute`` are the milliseconds on the device,
    ``end_to_end`` with copies.

    Copying in is measured separately. The rest of the end-to-end time, without copying in and
    computation, counts as copying out.
    """
    if not isinstance(session, DeviceTimed):
        return
    copy_in = _median(lambda: session.bind(feeds), session, clock, wait=True)
    enqueue = _median(session.enqueue, session, clock, wait=False)
    copy_out = max(0.0, end_to_end - copy_in - compute)
    for found in (enqueue_bound(enqueue, compute), copy_bound(copy_in, copy_out, compute)):
        if found is not None:
            yield Advice(f"{name}: {found.message}", found.fix)
    for note in getattr(session, "notes", ()):
        yield Advice(f"{name}: {note}")


def _median(call: Callable[[], object], session: Session, clock: Clock, *, wait: bool) -> float:
    """Median milliseconds of a call; with ``wait``, until the device has finished."""
    taken = []
    for _ in range(RUNS):
        session.synchronize()
        began = clock()
        call()
        if wait:
            session.synchronize()
        taken.append((clock() - began) / 1e6)
    session.synchronize()
    return median(taken)
