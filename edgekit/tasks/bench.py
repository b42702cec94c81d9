"""``edgekit bench``: measures bundles and runtimes in turns in one process, after checking that
each computes the outputs of its export.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from edgekit.advice import Advice
from edgekit.bundle.staging import check_outside
from edgekit.errors import BadWeights, EnvironmentLacks, InputError, WeightsUnavailable
from edgekit.latency import clock, phases
from edgekit.latency.cautions import exact_int8, of_measurement, steadiness
from edgekit.latency.compare import TOLERANCE, Sample
from edgekit.latency.verdict import Contender, verdict
from edgekit.machine.environment import Environment, describe
from edgekit.pipeline.latency import batches_of, synchronous
from edgekit.progress import Progress, Quiet
from edgekit.reports.bench import BenchReport, Proof, Shipped, Table
from edgekit.reports.document import LatencyRow
from edgekit.runtimes import availability, builders, known
from edgekit.runtimes.base import SessionOptions
from edgekit.tasks.baseline import Baseline, compared, find_baseline
from edgekit.tasks.bench_more import (
    NOTHING_MORE,
    More,
    check_more,
    measure_more,
    measure_throughput,
)
from edgekit.tasks.candidates import (
    TORCH,
    Candidate,
    Subject,
    common_batch,
    open_bundles,
    open_candidate,
    subjects,
)
from edgekit.tasks.history import History
from edgekit.tasks.sessions import CPU, graph_for

END_TO_END = "end to end: copy in, run, copy out"
ENGINE_ONLY = "engine only: inputs and outputs stay on the GPU"


@dataclass(frozen=True)
class BenchRequest:
    """What to measure. Without ``runtimes``, all that are available except torch. ``seconds`` is
    the measuring time of each candidate.

    Args:
        history: the file that the result is added to; None for none.
        compare: an earlier bench: ``last``, its number in the history, or a json file.
        tolerance: how much slower is not a regression yet: 0.05 is 5 %.
        other_machine: whether the earlier bench may be of another machine.
        more: the optional measurements.
    """

    bundles: tuple[Path, ...]
    runtimes: tuple[str, ...] = ()
    batch: int | None = None
    threads: int | None = None
    seconds: float = 3.0
    streams: int = 1
    history: Path | None = None
    compare: str | None = None
    tolerance: float = TOLERANCE
    other_machine: bool = False
    more: More = NOTHING_MORE


def bench(request: BenchRequest, progress: Progress | None = None) -> BenchReport:
    """Measures the candidates of a request. The first one is the reference.

    Raises:
        InputError: a bundle or runtime cannot be used, or a graph does not allow the batch.
        EnvironmentLacks: a runtime cannot run here.
        BadNetwork: a runtime rejects a graph.
    """
    if request.history is not None:
        check_outside("history", request.history)
    with ExitStack() as stack:
        history = stack.enter_context(History(request.history)) if request.history else None
        report = _bench(request, history, progress or Quiet())
        return report if history is None else history.save(report)


def _bench(request: BenchRequest, history: History | None, show: Progress) -> BenchReport:
    _check(request)
    options = SessionOptions(request.threads)
    bundles = open_bundles(request.bundles)
    batch = common_batch(bundles, request.batch)
    chosen, left_out = subjects(
        bundles,
        request.runtimes
        or tuple(name for name, runtime in known().items() if runtime.available().ok),
    )
    _check_streams(request.streams, chosen)
    with ExitStack() as stack:
        with show.step("parity"):
            candidates, gone = _open(chosen, batch, options, stack)
        left_out |= gone
        if not candidates and not left_out:
            raise EnvironmentLacks(
                "no runtime is installed",
                hint="pip install 'edgekit[cpu]'; `edgekit doctor` lists what is missing",
            )
        if not candidates:
            why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
            raise InputError(
                f"no candidate is left to measure ({why})",
                hint="name another runtime; `edgekit doctor` lists those on this machine",
            )
        environment = describe()
        baseline = _baseline(request, history, candidates, batch, environment)
        with show.step("latency"):
            runs = {c.subject.name: synchronous(c.session, c.images, batch) for c in candidates}
            whole = _measure(runs, request.seconds, show)
        engines, cautions = _measure_engines(candidates, whole, batch, request.seconds, show)
        verdicts = tuple(_verdicts(candidates, engines, whole))
        environment = environment.finished()
        sound = [c for c in candidates if not c.failures]
        means = {name: timing.summary.mean for name, timing in whole.timings.items()}
        more = measure_more(
            request.more, sound, batch, options.cpu_threads, request.seconds, means, show
        )
    throughput = (
        measure_throughput(sound, request.streams, request.seconds, batch, options, show)
        if request.streams > 1 and sound
        else {}
    )
    failed = {c.subject.name for c in candidates if c.failures}
    report = BenchReport(
        batch=batch,
        threads=options.cpu_threads,
        proofs=tuple(_proofs(candidates)),
        end_to_end=_table(END_TO_END, whole, failed),
        engine_only=None if engines is None else _table(ENGINE_ONLY, engines, failed),
        streams=request.streams,
        throughput=throughput,
        verdicts=verdicts,
        left_out=left_out,
        advice=(
            *_mixed(candidates),
            *_int8_here(candidates, environment),
            *of_measurement(whole, environment),
            *cautions,
            *more.pop("advice", ()),
        ),
        environment=environment,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **more,
    )
    if baseline is None:
        return report
    return replace(report, comparison=compared(report, baseline, request.tolerance))


def _check(request: BenchRequest) -> None:
    """Checks the request before anything is opened.

    Raises:
        InputError, EnvironmentLacks: from the checks of the optional measurements.
    """
    if not 0 <= request.tolerance < float("inf"):
        raise InputError(
            f"`tolerance` {request.tolerance:g} is not a fraction",
            hint="for example, `tolerance` 0.05 is 5 %",
        )
    check_more(request.more, open_bundles(request.bundles))


def _baseline(
    request: BenchRequest,
    history: History | None,
    candidates: Sequence[Candidate],
    batch: int,
    environment: Environment,
) -> Baseline | None:
    if request.compare is None:
        return None
    threads = SessionOptions(request.threads).cpu_threads
    planned = [
        Sample(
            name=c.subject.name,
            graph=graph_for(c.subject.bundle, c.subject.runtime).sha256,
            runtime=c.subject.runtime,
            version=None,
            what=END_TO_END,
            batch=batch,
            threads=threads,
            blocks=(),
        )
        for c in candidates
    ]
    return find_baseline(
        request.compare, history, planned, environment, other_machine=request.other_machine
    )


def _check_streams(streams: int, chosen: Sequence[Subject]) -> None:
    without = sorted({subject.runtime for subject in chosen} - set(builders()))
    if streams > 1 and without:
        raise InputError(
            f"{without[0]} does not support streams",
            hint=f"remove `streams`, or use only `runtime` {' or '.join(builders())}",
        )


def _open(
    chosen: Sequence[Subject], batch: int, options: SessionOptions, stack: ExitStack
) -> tuple[list[Candidate], dict[str, str]]:
    """The candidates, and the networks whose weights cannot be loaded any more."""
    candidates, gone = [], {}
    for subject in chosen:
        try:
            candidates.append(open_candidate(subject, batch, options, stack))
        except (WeightsUnavailable, BadWeights) as error:
            if subject.runtime != TORCH:
                raise
            gone[subject.name] = error.message
    return candidates, gone


def _measure(
    runs: Mapping[str, clock.Candidate], seconds: float, progress: Progress
) -> clock.Measurement:
    return clock.measure(
        runs,
        reference=next(iter(runs)),
        seconds=seconds,
        on_block=lambda done, total: progress.advance(done, total),
    )


def _measure_engines(
    candidates: Sequence[Candidate],
    whole: clock.Measurement,
    batch: int,
    seconds: float,
    progress: Progress,
) -> tuple[clock.Measurement | None, list[Advice]]:
    """The candidates on a GPU again, without copies."""
    on_gpu = {c.subject.name: c for c in candidates if phases.on_gpu(c.session)}
    if not on_gpu:
        return None, []
    feeds = {name: batches_of(c.session, c.images, batch)[0] for name, c in on_gpu.items()}
    with progress.step("latency of the engines alone"):
        measurement = _measure(
            {name: phases.engine_only(c.session, feeds[name]) for name, c in on_gpu.items()},
            seconds,
            progress,
        )
    found = [Advice(f"engine only: {a.message}", a.fix) for a in steadiness(measurement)]
    for name, c in on_gpu.items():
        compute, end_to_end = (m.timings[name].summary.median for m in (measurement, whole))
        found += list(phases.cautions(name, c.session, feeds[name], compute, end_to_end))
    return measurement, found


def _table(what: str, measurement: clock.Measurement, failed: Collection[str]) -> Table:
    reference = measurement.reference
    rows = []
    for name, timing in measurement.timings.items():
        comparable = name != reference and not {name, reference} & set(failed)
        rows.append(
            LatencyRow(
                name,
                timing.summary,
                measurement.ratio(name) if comparable else None,
                timing.warm_up.settled,
                timing.medians,
            )
        )
    return Table(what, reference, tuple(rows), measurement.noise_floor)


def _proofs(candidates: Sequence[Candidate]) -> Iterator[Proof]:
    found = availability()
    for c in candidates:
        s = c.subject
        yield Proof(
            s.name,
            str(s.bundle.path),
            s.bundle.manifest.network.name,
            s.precision,
            s.runtime,
            found[s.runtime].version,
            c.parity,
            c.failures,
            graph_for(s.bundle, s.runtime).sha256,
        )


def _verdicts(
    candidates: Sequence[Candidate], engines: clock.Measurement | None, whole: clock.Measurement
) -> Iterator[Shipped]:
    """A verdict for each runtime and network with exactly one FP16 and one INT8 bundle; from the
    latencies without copies if measured.
    """
    groups: dict[tuple[str, str, str | None], dict[str, list[Candidate]]] = {}
    for c in candidates:
        m = c.subject.bundle.manifest
        group = groups.setdefault((c.subject.runtime, m.network.name, m.weights.sha256), {})
        group.setdefault(c.subject.precision, []).append(c)
    for (runtime, network, _), by_precision in groups.items():
        pair = [by_precision.get(precision, []) for precision in ("fp16", "int8")]
        if [len(found) for found in pair] != [1, 1]:
            continue
        names = [found[0].subject.name for found in pair]
        measured = engines if engines is not None and set(names) <= set(engines.timings) else whole
        contenders = [
            Contender(
                measured.timings[name].medians,
                found[0].failures,
                phases.reformats(found[0].session),
            )
            for name, found in zip(names, pair, strict=True)
        ]
        yield Shipped(runtime, network, verdict(*contenders))


def _int8_here(candidates: Sequence[Candidate], environment: Environment) -> Iterator[Advice]:
    on_cpu = any(c.subject.runtime == CPU and c.subject.precision == "int8" for c in candidates)
    if on_cpu and (advice := exact_int8(environment)) is not None:
        yield advice


def _mixed(candidates: Sequence[Candidate]) -> Iterator[Advice]:
    networks = sorted({c.subject.bundle.manifest.network.name for c in candidates})
    if len(networks) > 1:
        yield Advice(
            f"these are different networks ({', '.join(networks)}): ratios compare the networks, "
            f"not only their precision or runtime"
        )
