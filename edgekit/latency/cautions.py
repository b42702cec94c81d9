"""Reasons to doubt a latency, each with what mends it.

The first three and their limits are trtexec's. Times are milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgekit.advice import Advice
from edgekit.latency.clock import Measurement
from edgekit.latency.statistics import Summary
from edgekit.machine.environment import Environment, Snapshot

UNSTABLE_CV = 0.025
ENQUEUE_SHARE = 0.8


def unstable(summaries: Mapping[str, Summary]) -> Advice | None:
    """Coefficients of variation above 2.5 %."""
    shaky = [
        f"{name} by {summary.cv:.1%}"
        for name, summary in summaries.items()
        if summary.cv > UNSTABLE_CV
    ]
    if not shaky:
        return None
    return Advice(
        f"latencies vary: {', '.join(shaky)} of the mean (above {UNSTABLE_CV:.1%})",
        "lock the clocks (jetson_clocks, nvidia-smi --lock-gpu-clocks, the performance governor) "
        "and stop other work",
    )


def enqueue_bound(enqueue: float, compute: float) -> Advice | None:
    """Handing the work to the GPU takes more than 0.8 of the time the GPU works: then the CPU is
    what is measured.
    """
    if enqueue <= ENQUEUE_SHARE * compute:
        return None
    return Advice(
        f"enqueueing takes {enqueue:.3f} ms against {compute:.3f} ms of GPU time: the CPU holds "
        f"the GPU up",
        "run the engine as a CUDA graph, or with a larger batch",
    )


def copy_bound(copy_in: float, copy_out: float, compute: float) -> Advice | None:
    """A copy to or from the GPU takes as long as the computation."""
    slow = [
        f"{name} {took:.3f} ms"
        for name, took in (("copying in", copy_in), ("copying out", copy_out))
        if took >= compute
    ]
    if not slow:
        return None
    return Advice(
        f"{' and '.join(slow)} against {compute:.3f} ms of GPU time: the copies hold the GPU up",
        "use pinned or unified memory, feed uint8 images and normalise in the graph, or overlap "
        "copies with computation",
    )


def busy(load: float, cores: int) -> Advice | None:
    """More work waits than there are cores."""
    if load <= cores:
        return None
    return Advice(
        f"the load average is {load:.1f} on {cores} cores: other work took part",
        "stop other work and measure again",
    )


def unsettled(measurement: Measurement) -> Advice | None:
    """Candidates whose latency still moved when they were measured."""
    moving = [
        f"{name} after {timing.warm_up.runs} runs in {timing.warm_up.seconds:.1f} s"
        for name, timing in measurement.timings.items()
        if not timing.warm_up.settled
    ]
    if not moving:
        return None
    return Advice(
        f"not settled by the warm-up: {', '.join(moving)}",
        "allow a longer warm-up, or measure on a quieter machine",
    )


def biased(measurement: Measurement) -> Advice | None:
    """The reference differs from itself: whatever made that difference makes others."""
    floor = measurement.noise_floor
    if not (floor.faster or floor.slower):
        return None
    return Advice(
        f"{measurement.reference} against itself gives {floor.value:.3f} ({floor.low:.3f} to "
        f"{floor.high:.3f}), not 1",
        "trust no difference as small as this one; measure again with more blocks on a quieter "
        "machine",
    )


def throttled(now: Snapshot) -> Iterator[Advice]:
    """GPUs that ran below their clocks for heat or power."""
    for index, gpu in enumerate(now.gpus):
        if gpu.throttled:
            yield Advice(
                f"GPU {index} is slowed down: {', '.join(gpu.throttled)}",
                "cool it, raise its power limit, or lock lower clocks",
            )


def of_measurement(measurement: Measurement, environment: Environment) -> tuple[Advice, ...]:
    """All that can be said against a measurement made in ``environment``, the load being that
    before the measurement began.
    """
    before, after = environment.before, environment.after
    found = [
        unsettled(measurement),
        unstable({name: timing.summary for name, timing in measurement.timings.items()}),
        biased(measurement),
    ]
    if before.load is not None and environment.cpu.cores:
        found.append(busy(before.load, environment.cpu.cores))
    if after is not None:
        found += throttled(after)
    return tuple(caution for caution in found if caution)
