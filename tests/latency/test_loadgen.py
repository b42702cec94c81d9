"""MLPerf's scenarios by MLCommons' own LoadGen, with a candidate that takes a known time."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from edgekit.latency.loadgen import SCENARIOS, Scenario, ScenarioName, run_scenario
from edgekit.latency.statistics import _most_over


class Candidate:
    """Each call takes two milliseconds at least."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.threads: set[int] = set()

    def __call__(self, numbers) -> None:
        self.calls.append(list(numbers))
        self.threads.add(threading.get_ident())
        time.sleep(0.002)


def test_single_stream_sends_one_after_the_other() -> None:
    candidate = Candidate()
    result = run_scenario("a", candidate, 7, Scenario("single-stream", 0.5), batch=4, expected_ms=2)
    assert all(len(call) == 1 for call in candidate.calls)
    assert {number for call in candidate.calls for number in call} == set(range(7))
    assert result.queries == len(candidate.calls) >= 100
    assert result.valid and result.why_not == ()
    assert result.metric is not None and 2 <= result.latencies["p50"] <= result.latencies["p99"]
    assert result.latencies["p90"] <= result.metric
    assert result.over_bound is None
    assert result.shorter == ("0.5 of 600 seconds",)
    # LoadGen leaves out as many of the slowest as our own bound does.
    (discarded,) = (line for line in result.early_stopping if line.startswith("Would discard"))
    assert int(discarded.split()[2]) == _most_over(result.queries, 90) - 1


def test_offline_sends_everything_at_once() -> None:
    candidate = Candidate()
    result = run_scenario(
        "a", candidate, 5, Scenario("offline", 0.2, qps=500), batch=8, expected_ms=2
    )
    assert sum(map(len, candidate.calls)) == result.queries == 110  # 0.2 s × 500, and a tenth
    assert max(map(len, candidate.calls)) == 8
    assert result.metric is not None and 0 < result.metric < 8 / 0.002
    assert result.shorter == ("0.2 of 600 seconds", "110 of 24,576 samples")


def test_server_counts_what_is_over_its_bound() -> None:
    slow = Scenario("server", 0.4, qps=100, latency_bound=0.5)
    result = run_scenario("a", Candidate(), 5, slow, batch=1, expected_ms=2)
    assert result.over_bound == result.queries >= 100
    assert not result.valid
    assert result.why_not and result.early_stopping[0] == "Run unsuccessful."
    assert result.metric is not None and result.metric > 0


def test_a_failure_of_the_candidate_ends_the_run() -> None:
    def fail(numbers) -> None:
        raise RuntimeError("no kernel")

    with pytest.raises(RuntimeError, match="no kernel"):
        run_scenario("a", fail, 5, Scenario("single-stream", 0.1), batch=1, expected_ms=2)


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_interrupt_is_raised_when_loadgen_has_ended(name: ScenarioName) -> None:
    calls = []

    def infer(numbers) -> None:
        calls.append(numbers)
        time.sleep(0.002)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    server = {"qps": 500, "latency_bound": 5} if name == "server" else {}
    with pytest.raises(KeyboardInterrupt):
        run_scenario("a", infer, 5, Scenario(name, 0.5, **server), batch=1, expected_ms=2)
    assert 3 <= len(calls) < 50, "the other queries were answered without the candidate"
    assert not [thread for thread in threading.enumerate() if thread.name == "inference"]
    assert run_scenario(
        "a", Candidate(), 5, Scenario("offline", 0.1), batch=1, expected_ms=2
    ).queries


def test_a_server_needs_a_rate_and_a_bound() -> None:
    with pytest.raises(ValueError, match="latency bound"):
        run_scenario("a", Candidate(), 5, Scenario("server", qps=1), batch=1, expected_ms=2)
