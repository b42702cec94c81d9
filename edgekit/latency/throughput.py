"""Throughput: inferences per second with several at once. It is not 1 / latency, because each
inference takes longer than alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

from edgekit.latency.clock import WARM_UP_MS, Clock
from edgekit.runtimes.base import Session


def rates(
    sessions: Mapping[str, Session],
    *,
    seconds: float,
    blocks: int = 5,
    on_block: Callable[[int, int], None] = lambda done, total: None,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, float]:
    """Inferences per second of bound sessions, measured in turns: the median over the blocks."""
    found: dict[str, list[float]] = {name: [] for name in sessions}
    for session in sessions.values():
        _rate(session, WARM_UP_MS / 1e3, clock)
    for block in range(blocks):
        for name, session in sessions.items():
            found[name].append(_rate(session, seconds / blocks, clock))
        on_block(block + 1, blocks)
    return {name: median(rates) for name, rates in found.items()}


def _rate(session: Session, seconds: float, clock: Clock) -> float:
    began, count = clock(), 0
    while clock() - began < seconds * 1e9:
        session.enqueue()
        count += 1
    session.synchronize()
    return count / ((clock() - began) / 1e9)
