"""What an inference on a GPU consists of: handing it over, copying in, computing, copying out."""

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
    """A session whose device says how many milliseconds one inference took on it, copies
    left out.
    """

    def device_ms(self) -> float: ...


class Layer(Protocol):
    @property
    def role(self) -> str: ...


@runtime_checkable
class Inspected(Protocol):
    """A session that tells the layers of its engine."""

    def layers(self) -> Sequence[Layer]: ...


def on_gpu(session: Session) -> bool:
    """Whether a session keeps what ``bind`` gave it on a device, so that ``enqueue`` copies
    nothing.
    """
    return isinstance(session, DeviceTimed) or getattr(session, "on_device", False)


def reformats(session: Session) -> int | None:
    """How many layers of an engine only convert formats or types; None where nobody can tell."""
    return (
        sum(layer.role == "reformat" for layer in session.layers())
        if isinstance(session, Inspected)
        else None
    )


def engine_only(session: Session, feeds: Feeds) -> Candidate:
    """One inference without copies: by the device's own events where it has them, else for the
    host's clock, from handing over to the end.
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
    """What trtexec would warn of, for a session whose ``compute`` (milliseconds on the device) is
    known apart from ``end_to_end``.

    Copying in is timed by itself; what end to end takes beyond it and the computation counts as
    copying out.
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
    """Median milliseconds of a call; with ``wait`` until the device is done with it."""
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
