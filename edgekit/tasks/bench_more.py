"""The optional measurements of a bench: cold starts, energy, other batches and threads, a long
load, and the scenarios of MLPerf.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from edgekit.advice import Advice
from edgekit.bundle import Bundle
from edgekit.errors import EnvironmentLacks, InputError
from edgekit.latency import clock
from edgekit.latency.loadgen import Infer, Scenario, ScenarioResult, run_scenario
from edgekit.latency.sustained import PARTS, SHORTEST, Sustained, sustain
from edgekit.latency.throughput import rates
from edgekit.machine.energy import Counter, energy_counters
from edgekit.pipeline.latency import batches_of, synchronous
from edgekit.progress import Progress
from edgekit.reports.bench import Energy, Setting, Start
from edgekit.runtimes.base import SessionOptions, as_input
from edgekit.tasks.candidates import Candidate, Subject, common_batch, open_candidate
from edgekit.tasks.cold_start import cold_start
from edgekit.tasks.sessions import open_session

MINUTE = 60.0
LEAST_ENERGY_SECONDS = 2.0  # NVML updates its counter every 20 to 100 ms
ENERGY_LOOKS = 20.0  # seconds between two; RAPL's counter overflows after a minute or more


@dataclass(frozen=True)
class More:
    """The optional measurements.

    Args:
        batches: further batches, each measured separately.
        threads: further numbers of CPU threads, each with every batch.
        cold_start: whether to measure the time from process start to the first result, and the
            memory.
        sustained: minutes of load without a pause, for each candidate alone.
        scenario: an MLPerf scenario.
    """

    batches: tuple[int, ...] = ()
    threads: tuple[int, ...] = ()
    cold_start: bool = False
    sustained: float | None = None
    scenario: Scenario | None = None


NOTHING_MORE = More()


def check_more(more: More, bundles: Sequence[Bundle]) -> None:
    """Checks the request before anything is measured.

    Raises:
        InputError: a graph does not allow a batch, the load is too short for the windows, or a
            scenario lacks a value.
        EnvironmentLacks: LoadGen is not installed.
    """
    for batch in more.batches:
        common_batch(bundles, batch, several=True)
    if more.sustained is not None:
        check_sustained(more.sustained)
    if more.scenario is not None:
        check_scenario(more.scenario)


def measure_more(
    wanted: More,
    candidates: Sequence[Candidate],
    batch: int,
    threads: int,
    seconds: float,
    means: Mapping[str, float],
    show: Progress,
) -> dict[str, Any]:
    """Runs the optional measurements; returns fields of the report, and ``advice`` to add to it.
    ``means`` are the latencies by candidate.
    """
    subjects = [c.subject for c in candidates]
    found: dict[str, Any] = {"energy": measure_energy(candidates, batch, seconds, show)}
    if wanted.cold_start:
        found["starts"] = measure_starts(subjects, batch, threads, show)
    if wanted.sustained is not None:
        found["sustained"] = measure_sustained(candidates, batch, wanted.sustained, show)
    if wanted.scenario is not None:
        expected = [means[subject.name] for subject in subjects]
        found["scenarios"] = run_scenarios(candidates, wanted.scenario, batch, expected, show)
    # Last: PyTorch has one number of threads for the whole process.
    if (wanted.batches or wanted.threads) and subjects:
        found["settings"], found["advice"] = measure_settings(
            subjects, wanted.batches or (batch,), wanted.threads or (threads,), seconds, show
        )
    return found


def check_scenario(scenario: Scenario) -> None:
    """
    Raises:
        InputError: server has no rate or no bound.
        EnvironmentLacks: LoadGen is not installed.
    """
    if scenario.name == "server" and None in (scenario.qps, scenario.latency_bound):
        raise InputError(
            "the scenario server needs `qps` and `latency_bound`",
            hint="for example `qps` 50 and `latency_bound` 15: 50 queries per second, 99 % of "
            "them within 15 ms",
        )
    if scenario.name != "server" and scenario.latency_bound is not None:
        raise InputError(f"`latency_bound` is only for server, not for {scenario.name}")
    if scenario.name == "single-stream" and scenario.qps is not None:
        raise InputError("`qps` is for server and offline, not for single-stream")
    if find_spec("mlperf_loadgen") is None:
        raise EnvironmentLacks(
            "scenarios need LoadGen of MLCommons, which is not installed",
            hint="pip install 'edgekit[loadgen]'",
        )


def check_sustained(minutes: float) -> None:
    """
    Raises:
        InputError: the load is too short for the windows.
    """
    if minutes * MINUTE < PARTS * SHORTEST:
        raise InputError(
            f"`sustained` {minutes:g} minutes are too short",
            hint=f"at least {PARTS * SHORTEST:g} seconds; effects of heat need 10 minutes or more",
        )


def measure_starts(
    subjects: Sequence[Subject], batch: int, threads: int, show: Progress
) -> tuple[Start, ...]:
    with show.step("cold starts"):
        return tuple(cold_start(subject, batch, threads) for subject in subjects)


def measure_energy(
    candidates: Sequence[Candidate], batch: int, seconds: float, show: Progress
) -> tuple[Energy, ...]:
    """Measures one candidate after the other, each as long as its latency was measured; empty if
    the machine counts no energy.
    """
    with energy_counters() as counters:
        if not counters:
            return ()
        with show.step("energy"):
            return tuple(
                Energy(c.subject.name, source, joules / images, joules / took)
                for c in candidates
                for source, joules, images, took in _burn(
                    synchronous(c.session, c.images, batch), batch, seconds, counters
                )
            )


def _burn(
    run: Callable[[int], object], batch: int, seconds: float, meters: Sequence[Counter]
) -> Iterator[tuple[str, float, int, float]]:
    """Counters that stood still are left out: they did not measure 0 J."""
    before, began, runs = [meter.joules() for meter in meters], time.perf_counter(), 0
    looked = began
    while (now := time.perf_counter()) - began < max(seconds, LEAST_ENERGY_SECONDS):
        run(runs)
        runs += 1
        if now - looked > ENERGY_LOOKS:
            looked = now
            for meter in meters:
                meter.joules()
    took = time.perf_counter() - began
    for meter, then in zip(meters, before, strict=True):
        if (joules := meter.joules() - then) > 0:
            yield meter.name, joules, runs * batch, took


def measure_settings(
    subjects: Sequence[Subject],
    batches: Sequence[int],
    threads: Sequence[int],
    seconds: float,
    show: Progress,
) -> tuple[tuple[Setting, ...], tuple[Advice, ...]]:
    """Measures every batch with every number of threads; a candidate that fails parity in one of
    them gets a warning instead.
    """
    found, failed = [], []
    for batch in batches:
        for count in threads:
            what = f"batch {batch}, {count} thread{'s' if count > 1 else ''}"
            with ExitStack() as stack, show.step(what):
                opened = [
                    open_candidate(subject, batch, SessionOptions(count), stack)
                    for subject in subjects
                ]
                failed += [
                    Advice(f"{c.subject.name}, {what}: not measured, because {c.failures[0]}")
                    for c in opened
                    if c.failures
                ]
                runs = {
                    c.subject.name: synchronous(c.session, c.images, batch)
                    for c in opened
                    if not c.failures
                }
                if not runs:
                    continue
                measured = clock.measure(
                    runs,
                    reference=next(iter(runs)),
                    seconds=seconds,
                    on_block=lambda done, total: show.advance(done, total),
                )
            for name, timing in measured.timings.items():
                rate = batch * 1e3 / timing.summary.mean
                found.append(Setting(name, batch, count, timing.summary, rate))
    return tuple(found), tuple(failed)


def measure_throughput(
    candidates: Sequence[Candidate],
    streams: int,
    seconds: float,
    batch: int,
    options: SessionOptions,
    progress: Progress,
) -> dict[str, float]:
    """Measures the images per second of each candidate with all streams busy."""
    with ExitStack() as stack, progress.step("throughput"):
        sessions = {}
        for c in candidates:
            session = open_session(
                c.subject.bundle, c.subject.runtime, options, batch=batch, streams=streams
            )
            sessions[c.subject.name] = stack.enter_context(session)
            session.bind(batches_of(session, c.images, batch)[0])
        found = rates(
            sessions,
            seconds=seconds,
            on_block=lambda done, total: progress.advance(done, total),
        )
    return {name: rate * batch for name, rate in found.items()}


def measure_sustained(
    candidates: Sequence[Candidate], batch: int, minutes: float, show: Progress
) -> tuple[Sustained, ...]:
    """Measures one candidate after the other, so that each one only causes its own heat."""
    found = []
    for c in candidates:
        with show.step(f"{c.subject.name} for {minutes:g} minutes"):
            found.append(
                sustain(
                    c.subject.name,
                    synchronous(c.session, c.images, batch),
                    minutes * MINUTE,
                    on_window=lambda done, total: show.advance(done, total),
                )
            )
    return tuple(found)


def run_scenarios(
    candidates: Sequence[Candidate],
    scenario: Scenario,
    batch: int,
    expected_ms: Sequence[float],
    show: Progress,
) -> tuple[ScenarioResult, ...]:
    """Runs one candidate after the other; ``expected_ms`` is the latency of each for a batch."""
    found = []
    for c, expected in zip(candidates, expected_ms, strict=True):
        with show.step(f"{scenario.name}, {c.subject.name}"):
            found.append(
                run_scenario(
                    c.subject.name,
                    _infer(c, batch),
                    len(c.images),
                    scenario,
                    batch=batch,
                    expected_ms=expected,
                )
            )
    return tuple(found)


def _infer(candidate: Candidate, batch: int) -> Infer:
    """Runs images by their numbers; a static batch is filled with the last one."""
    session = candidate.session
    spec = session.inputs[0]
    rows = as_input(spec, candidate.images)
    static = isinstance(spec.shape[0], int)

    def infer(numbers: Sequence[int]) -> None:
        taken = np.asarray(numbers)
        if static and len(taken) < batch:
            taken = np.pad(taken, (0, batch - len(taken)), mode="edge")
        session.run({spec.name: rows[taken]})

    return infer
