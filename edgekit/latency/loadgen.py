"""The scenarios of MLPerf Inference, with LoadGen of MLCommons.

MLPerf Inference Rules, section "Scenarios" (mlcommons/inference_policies, inference_rules.adoc):

- single stream: "LoadGen sends next query as soon as SUT completes the previous query"; the metric
  is the "90%-ile early-stopping latency estimate".
- offline: "LoadGen sends all samples to the SUT at start in a single query"; "Measured throughput".
- server: "LoadGen sends new queries to the SUT according to a Poisson distribution"; "Maximum
  Poisson throughput parameter supported", with 99 % of the queries within a latency bound.

The user chooses the duration of a run. The rules require 600 seconds, and 24,576 samples offline;
:attr:`ScenarioResult.shorter` lists the rules that a run does not meet.
"""

from __future__ import annotations

import json
import queue
import re
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

ScenarioName = Literal["single-stream", "offline", "server"]
SCENARIOS: tuple[ScenarioName, ...] = ("single-stream", "offline", "server")
RULES_SECONDS, RULES_SAMPLES, RULES_QUERIES = 600.0, 24_576, 100
PERCENTILES = {"single-stream": 0.9, "server": 0.99}
MAX_SAMPLES = 1024  # different inputs for LoadGen
_MARK = ":::MLLOG "

Infer = Callable[[Sequence[int]], object]


@dataclass(frozen=True)
class Scenario:
    """An MLPerf scenario, for :func:`edgekit.bench`.

    Args:
        name: ``single-stream``, ``offline`` or ``server``.
        seconds: the least duration.
        qps: for server, queries per second; for offline, the expected images per second, which set
            the number of samples.
        latency_bound: for server: the bound in milliseconds for 99 % of the queries.
    """

    name: ScenarioName
    seconds: float = 10.0
    qps: float | None = None
    latency_bound: float | None = None


@dataclass(frozen=True)
class ScenarioResult:
    """The result of LoadGen; latencies are in milliseconds.

    Args:
        name: of the candidate.
        scenario: the request.
        valid: LoadGen's verdict on the run.
        why_not: LoadGen's reason if it is not valid.
        metric: single stream: the early-stopping estimate of the 90th percentile in ms, None with
            too few queries; offline: images per second; server: completed queries per second.
        queries: the number of issued queries; for offline, of samples.
        latencies: mean and percentiles from LoadGen's log, by name.
        over_bound: for server: the number of queries that took longer than the bound.
        early_stopping: LoadGen's message.
        shorter: the rules that this run does not meet; empty if it meets them.
        loadgen: the version of LoadGen.
    """

    name: str
    scenario: Scenario
    valid: bool
    why_not: tuple[str, ...]
    metric: float | None
    queries: int
    latencies: dict[str, float]
    over_bound: int | None
    early_stopping: tuple[str, ...]
    shorter: tuple[str, ...]
    loadgen: str


def run_scenario(
    name: str, infer: Infer, inputs: int, scenario: Scenario, *, batch: int, expected_ms: float
) -> ScenarioResult:
    """Runs one scenario.

    Args:
        name: of the candidate.
        infer: runs the inputs with these numbers as one batch, at most ``batch`` of them.
        inputs: the number of inputs.
        scenario: the scenario to run.
        batch: images at once. Single stream and server send images one by one; waiting images are
            run together.
        expected_ms: the latency of one call; LoadGen plans its queries with it.

    Raises:
        ImportError: mlcommons-loadgen is not installed.
        ValueError: server has no rate or no bound.
    """
    import mlperf_loadgen as loadgen

    settings = _settings(loadgen, scenario, batch, expected_ms)
    with tempfile.TemporaryDirectory(prefix="edgekit-loadgen-") as folder:
        worker = _Worker(loadgen, infer, batch)
        sut = loadgen.ConstructSUT(worker.issue, lambda: None)
        library = loadgen.ConstructQSL(
            inputs, min(inputs, MAX_SAMPLES), lambda samples: None, lambda samples: None
        )
        log = _log(loadgen, folder)
        try:
            with worker:
                worker.see_to_the_end(
                    lambda: loadgen.StartTestWithLogSettings(sut, library, settings, log, "")
                )
        finally:
            loadgen.DestroyQSL(library)
            loadgen.DestroySUT(sut)
        if worker.failure is not None:
            raise worker.failure
        facts = _facts(Path(folder) / "mlperf_log_detail.txt")
    return _result(name, scenario, facts)


class _Worker:
    """Runs the queries of LoadGen in their order, up to a batch at once. After a failure or an
    interrupt, the remaining queries are answered immediately, so that LoadGen ends normally.
    """

    def __init__(self, loadgen: Any, infer: Infer, batch: int) -> None:
        self.failure: BaseException | None = None
        self._loadgen = loadgen
        self._infer = infer
        self._batch = batch
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)

    def __enter__(self) -> _Worker:
        self._thread.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._waiting.put(None)
        self._thread.join()

    def see_to_the_end(self, test: Callable[[], object]) -> None:
        """Runs LoadGen in another thread, because only the main thread is interrupted: LoadGen
        crashes the process if an exception passes through it, or if the process ends before it.
        It cannot be stopped, so after an interrupt it goes on for its planned time at most.
        """
        ended = threading.Event()  # after an interrupt, join() of Python 3.10 no longer waits

        def run() -> None:
            try:
                test()
            except Exception as error:  # noqa: BLE001 - raised where the run was asked for
                self.failure = error
            finally:
                ended.set()

        threading.Thread(target=run, name="loadgen", daemon=True).start()
        try:
            ended.wait()
        except BaseException as error:  # noqa: BLE001 - raised when LoadGen has ended
            self.failure = error
            ended.wait()

    def issue(self, samples: Sequence[Any]) -> None:
        for sample in samples:
            self._waiting.put((sample.id, sample.index))

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            taken, ended = [first], False
            while len(taken) < self._batch:
                try:
                    more = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    ended = True
                    break
                taken.append(more)
            if self.failure is None:
                try:
                    self._infer([index for _, index in taken])
                except Exception as error:  # noqa: BLE001 - raised where the run was asked for
                    self.failure = error
            answers = [self._loadgen.QuerySampleResponse(key, 0, 0) for key, _ in taken]
            self._loadgen.QuerySamplesComplete(answers)
            if ended:
                return


def _settings(loadgen: Any, scenario: Scenario, batch: int, expected_ms: float) -> Any:
    settings = loadgen.TestSettings()
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = round(scenario.seconds * 1e3)
    settings.min_query_count = RULES_QUERIES
    # The seeds of mlperf.conf, mlcommons/inference.
    settings.qsl_rng_seed = 1780908523862526354
    settings.sample_index_rng_seed = 14771362308971278857
    settings.schedule_rng_seed = 18209322760996052031
    if scenario.name == "single-stream":
        settings.scenario = loadgen.TestScenario.SingleStream
        # Half of the expected rate: LoadGen makes the list of its queries before it begins.
        settings.single_stream_expected_latency_ns = max(1, round(expected_ms * 1e6 / 2))
        settings.single_stream_target_latency_percentile = PERCENTILES["single-stream"]
    elif scenario.name == "offline":
        settings.scenario = loadgen.TestScenario.Offline
        settings.offline_expected_qps = scenario.qps or 1.25 * batch * 1e3 / expected_ms
    else:
        if scenario.qps is None or scenario.latency_bound is None:
            raise ValueError("server needs queries per second and a latency bound")
        settings.scenario = loadgen.TestScenario.Server
        settings.server_target_qps = scenario.qps
        settings.server_target_latency_ns = round(scenario.latency_bound * 1e6)
        settings.server_target_latency_percentile = PERCENTILES["server"]
    return settings


def _log(loadgen: Any, folder: str) -> Any:
    output = loadgen.LogOutputSettings()
    output.outdir = folder
    output.copy_summary_to_stdout = False
    settings = loadgen.LogSettings()
    settings.log_output = output
    settings.enable_trace = False
    return settings


def _facts(log: Path) -> dict[str, Any]:
    """Key and value of every line of LoadGen's detailed log; for a repeated key the last value."""
    lines = (line.partition(_MARK)[2] for line in log.read_text(encoding="utf-8").splitlines())
    entries = [json.loads(line) for line in lines if line]
    return {entry["key"]: entry["value"] for entry in entries}


def _result(name: str, scenario: Scenario, facts: dict[str, Any]) -> ScenarioResult:
    offline = scenario.name == "offline"
    queries = facts["effective_min_sample_count" if offline else "result_query_count"]
    metric: float | None
    if scenario.name == "single-stream":
        estimate = facts.get("early_stopping_latency_ss", 0)
        metric = estimate / 1e6 if estimate else None
    else:
        key = "result_samples_per_second" if offline else "result_completed_samples_per_sec"
        metric = float(facts[key])
    return ScenarioResult(
        name=name,
        scenario=scenario,
        valid=facts["result_validity"] == "VALID",
        why_not=_lines(facts.get("result_invalid_reason", "")),
        metric=metric,
        queries=int(queries),
        latencies=_latencies(facts),
        over_bound=facts.get("result_overlatency_query_count"),
        early_stopping=_lines(facts.get("early_stopping_result", "")),
        shorter=tuple(_shorter(scenario, int(queries))),
        loadgen=version("mlcommons-loadgen"),
    )


def _latencies(facts: dict[str, Any]) -> dict[str, float]:
    found = {"mean": facts["result_mean_latency_ns"] / 1e6}
    for key, value in facts.items():
        if place := re.fullmatch(r"result_([\d.]+)_percentile_latency_ns", key):
            found[f"p{float(place[1]):g}"] = value / 1e6
    return found


def _lines(text: str) -> tuple[str, ...]:
    joined = " ".join(text.split())
    return tuple(part.strip() for part in joined.split("*") if part.strip())


def _shorter(scenario: Scenario, queries: int) -> list[str]:
    lacks = []
    if scenario.seconds < RULES_SECONDS:
        lacks.append(f"{scenario.seconds:g} of {RULES_SECONDS:g} seconds")
    if scenario.name == "offline" and queries < RULES_SAMPLES:
        lacks.append(f"{queries:,} of {RULES_SAMPLES:,} samples")
    return lacks
