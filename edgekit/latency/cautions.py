"""Warnings about a latency measurement, each with a remedy.

The first three warnings and their limits are those of trtexec. Times are in milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgekit.advice import Advice
from edgekit.latency.clock import Measurement
from edgekit.latency.statistics import SESSIONS, Summary
from edgekit.machine.environment import VNNI, X86, Environment, Snapshot

UNSTABLE_CV = 0.025
ENQUEUE_SHARE = 0.8


def unstable(summaries: Mapping[str, Summary]) -> Advice | None:
    """Warns if a coefficient of variation is above 2.5 %."""
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
    """Warns if enqueueing takes more than 0.8 of the GPU time: then the CPU limits the latency."""
    if enqueue <= ENQUEUE_SHARE * compute:
        return None
    return Advice(
        f"enqueueing takes {enqueue:.3f} ms, and the GPU {compute:.3f} ms: the CPU slows the GPU "
        f"down",
        "run the engine as a CUDA graph, or with a larger batch",
    )


def copy_bound(copy_in: float, copy_out: float, compute: float) -> Advice | None:
    """Warns if a copy to or from the GPU takes as long as the computation."""
    slow = [
        f"{name} {took:.3f} ms"
        for name, took in (("copying in", copy_in), ("copying out", copy_out))
        if took >= compute
    ]
    if not slow:
        return None
    return Advice(
        f"{' and '.join(slow)}, and the GPU {compute:.3f} ms: the copies slow the GPU down",
        "use pinned or unified memory, feed uint8 images and normalise in the graph, or overlap "
        "copies with computation",
    )


def exact_int8(environment: Environment) -> Advice | None:
    """Warns if this CPU computes INT8 with slower instructions than other CPUs."""
    if environment.cpu.architecture not in X86 or VNNI & set(environment.cpu.flags):
        return None
    return Advice(
        "this CPU has no VNNI: ONNX Runtime's fast INT8 products saturate here, so edgekit "
        "uses the exact ones, which are slower",
        "measure INT8 on the device, or on a CPU with avx512_vnni or avx_vnni",
    )


def busy(load: float, cores: int) -> Advice | None:
    """Warns if the load average is higher than the number of cores."""
    if load <= cores:
        return None
    return Advice(
        f"the load average is {load:.1f} on {cores} cores: other programs were running",
        "stop other programs and measure again",
    )


def unsettled(measurement: Measurement) -> Advice | None:
    """Warns about candidates whose latency was not steady after the warm-up."""
    moving = [
        f"{name} after {timing.warm_up.runs} runs in {timing.warm_up.seconds:.1f} s"
        for name, timing in measurement.timings.items()
        if not timing.warm_up.settled
    ]
    if not moving:
        return None
    return Advice(
        f"not settled by the warm-up: {', '.join(moving)}",
        "measure on a quieter machine, or a smaller batch if few runs fit into that time",
    )


def biased(measurement: Measurement) -> Advice | None:
    """Warns if the reference differs from itself: other differences may have the same cause."""
    floor = measurement.noise_floor
    if not (floor.faster or floor.slower):
        return None
    return Advice(
        f"{measurement.reference} against itself gives {floor.value:.3f} ({floor.low:.3f} to "
        f"{floor.high:.3f}), not 1",
        "differences as small as this one are not reliable; measure again with more blocks on a "
        "quieter machine",
    )


def slight(measurement: Measurement) -> Advice | None:
    """Warns about differences that two sessions of one graph may have."""
    ratios = {name: measurement.ratio(name) for name in measurement.timings}
    near = [
        f"{name} {ratio.value:.3f}"
        for name, ratio in ratios.items()
        if (ratio.faster or ratio.slower) and not ratio.beyond(SESSIONS)
    ]
    if not near:
        return None
    return Advice(
        f"small differences from {measurement.reference}: {', '.join(near)}; two sessions of the "
        f"same graph also differ by up to about {SESSIONS:.0%}",
        "measure again: a difference between the graphs is the same in every process",
    )


def throttled(now: Snapshot) -> Iterator[Advice]:
    """Warns about GPUs that reduced their clocks because of heat or power."""
    for index, gpu in enumerate(now.gpus):
        if gpu.throttled:
            yield Advice(
                f"GPU {index} is slowed down: {', '.join(gpu.throttled)}",
                "cool it, raise its power limit, or lock lower clocks",
            )


def steadiness(measurement: Measurement) -> Iterator[Advice]:
    """The warnings about latencies that vary, and about differences that may come from that."""
    summaries = {name: timing.summary for name, timing in measurement.timings.items()}
    found = (unsettled(measurement), unstable(summaries), biased(measurement), slight(measurement))
    yield from filter(None, found)


def of_measurement(measurement: Measurement, environment: Environment) -> tuple[Advice, ...]:
    """All warnings about a measurement. The load in ``environment`` must be from before the
    measurement.
    """
    before, after = environment.before, environment.after
    found: list[Advice | None] = [*steadiness(measurement)]
    if before.load is not None and environment.cpu.cores:
        found.append(busy(before.load, environment.cpu.cores))
    if after is not None:
        found += throttled(after)
    return tuple(caution for caution in found if caution)
