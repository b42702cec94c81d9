"""The clock, with a simulated time."""

from __future__ import annotations

import gc
from collections.abc import Callable
from itertools import groupby

import pytest

from edgekit.latency.clock import DeviceRun, measure, warm_up


class Machine:
    """Time passes only while a candidate runs; ``log`` says who ran, on which input and when."""

    def __init__(self) -> None:
        self.now = 0
        self.log: list[tuple[str, int]] = []

    def clock(self) -> int:
        return self.now

    def candidate(self, name: str, milliseconds: Callable[[int], float]) -> Callable[[int], None]:
        """A candidate whose n-th run takes ``milliseconds(n)``."""
        runs = 0

        def run(i: int) -> None:
            nonlocal runs
            self.log.append((name, i))
            self.now += round(milliseconds(runs) * 1e6)
            runs += 1

        return run


def steady(milliseconds: float) -> Callable[[int], float]:
    return lambda run: milliseconds


def test_warm_up_lasts_200_ms_of_steady_runs():
    machine = Machine()
    done = warm_up(machine.candidate("a", steady(1)), 5, machine.clock)
    assert (done.runs, done.seconds, done.settled) == (200, pytest.approx(0.2), True)


def test_warm_up_needs_two_windows_of_a_slow_network():
    machine = Machine()
    done = warm_up(machine.candidate("a", steady(20)), 5, machine.clock)
    assert (done.runs, done.settled) == (100, True)


def test_warm_up_waits_until_the_latency_stops_falling():
    machine = Machine()
    # Falls to 10 ms within 110 runs: the third window of 50 still sees a difference, the fourth
    # none.
    done = warm_up(
        machine.candidate("a", lambda run: 10 + max(0, 110 - run) / 10), 60, machine.clock
    )
    assert (done.runs, done.settled) == (200, True)


def test_warm_up_gives_up_where_the_latency_never_settles():
    machine = Machine()
    done = warm_up(machine.candidate("a", lambda run: 1 + run / 100), 5, machine.clock)
    assert not done.settled
    assert done.seconds == pytest.approx(5, abs=0.05)


def test_warm_up_of_a_very_slow_network_is_cut_short_and_says_so():
    machine = Machine()
    done = warm_up(machine.candidate("a", steady(1000)), 5, machine.clock)
    assert (done.runs, done.settled) == (5, False)


def test_warm_up_of_a_slow_network_is_judged_by_its_halves():
    machine = Machine()
    done = warm_up(machine.candidate("a", steady(100)), 5, machine.clock)
    assert (done.runs, done.settled) == (50, True)
    falling = warm_up(machine.candidate("a", lambda run: 300 - run), 5, machine.clock)
    assert falling.runs < 50 and not falling.settled


def test_candidates_take_turns_there_and_back():
    machine = Machine()
    candidates = {
        "torch": machine.candidate("torch", steady(10)),
        "onnx": machine.candidate("onnx", steady(5)),
    }
    seen: list[tuple[int, int]] = []
    measure(
        candidates,
        reference="torch",
        seconds=0.5,
        on_block=lambda *at: seen.append(at),
        clock=machine.clock,
    )
    assert [name for name, _ in groupby(name for name, _ in machine.log)][:2] == ["torch", "onnx"]
    # In each block three turns and the same three backwards, each of as many runs as fill its time
    # and one that is not kept.
    runs = {"torch": 3 + 1, "onnx": 5 + 1}
    log = [name for name, _ in machine.log[200:]]
    turns = []
    while log:
        name, count = log[0], runs[log[0]]
        assert log[:count] == [name] * count
        turns.append(name)
        del log[:count]
    blocks = [turns[start : start + 6] for start in range(0, len(turns), 6)]
    assert len(blocks) == 10
    assert all(block == block[::-1] and block.count("torch") == 4 for block in blocks)
    assert len({tuple(block) for block in blocks}) == 3  # onnx first, in the middle, and last
    assert seen == [(done, 10) for done in range(11)]


def test_known_latencies_come_back():
    machine = Machine()
    candidates = {
        "torch": machine.candidate("torch", steady(10)),
        "onnx": machine.candidate("onnx", steady(5)),
    }
    measurement = measure(candidates, reference="torch", blocks=5, seconds=1, clock=machine.clock)
    assert measurement.timings["onnx"].turns == ((5.0,) * 20,) * 10
    assert measurement.timings["onnx"].medians == (5.0,) * 5
    assert measurement.timings["torch"].turns == measurement.again.turns == ((10.0,) * 10,) * 10
    assert measurement.timings["onnx"].summary.median == 5
    assert measurement.timings["onnx"].summary.count == 200
    assert measurement.ratio("onnx").value == pytest.approx(0.5)
    assert measurement.ratio("onnx").faster
    assert measurement.noise_floor.value == 1
    assert not (measurement.noise_floor.faster or measurement.noise_floor.slower)


def test_the_first_run_of_a_turn_is_not_kept():
    machine = Machine()
    last = [""]

    def caches(name: str) -> float:
        cold, last[0] = last[0] != name, name
        return 50 if cold else 2

    candidates = {
        name: machine.candidate(name, lambda _, name=name: caches(name)) for name in ("a", "b")
    }
    measurement = measure(candidates, reference="a", seconds=0.1, clock=machine.clock)
    assert set(measurement.timings["b"].samples) == {2.0}


def test_every_turn_runs_on_the_same_inputs():
    machine = Machine()
    measure(
        {"a": machine.candidate("a", steady(10))}, reference="a", seconds=0.25, clock=machine.clock
    )
    inputs = [i for _, i in machine.log[100:]]
    assert inputs == [0, 1, 2] * 40


def test_a_slow_network_still_gets_its_blocks_and_runs():
    machine = Machine()
    candidates = {"a": machine.candidate("a", steady(2000)), "b": machine.candidate("b", steady(1))}
    measurement = measure(candidates, reference="b", blocks=6, min_runs=2, clock=machine.clock)
    assert measurement.timings["a"].turns == ((2000.0,),) * 12
    assert not measurement.timings["a"].warm_up.settled
    # 3 warm-up runs, and in each of 6 blocks two turns of a run and one not kept.
    assert sum(name == "a" for name, _ in machine.log) == 3 + 6 * 4


def test_a_steady_drift_favours_nobody():
    machine = Machine()
    # The machine grows slower by a tenth every second, for all alike.
    candidates = {
        name: machine.candidate(name, lambda _: 1 + machine.now / 1e10) for name in ("a", "b")
    }
    measurement = measure(candidates, reference="a", blocks=6, seconds=3, clock=machine.clock)
    assert measurement.ratio("b").value == pytest.approx(1, abs=0.005)
    assert not measurement.ratio("b").faster
    assert not measurement.ratio("b").slower


def test_garbage_is_collected_between_measurements_only():
    machine, states = Machine(), set()

    def run(i: int) -> None:
        states.add(gc.isenabled())
        machine.now += 10**7

    measure({"a": run}, reference="a", seconds=0.1, clock=machine.clock)
    assert states == {False}
    assert gc.isenabled()


def test_an_exception_of_a_candidate_is_raised():
    def fail(i: int) -> None:
        raise RuntimeError("no kernel")

    with pytest.raises(RuntimeError, match="no kernel"):
        measure({"a": fail}, reference="a")
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reference": "b"}, "not among"),
        ({"reference": "a", "blocks": 4}, "at least 5"),
        ({"reference": "a", "min_runs": 0}, "1 run"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        measure({"a": lambda i: None}, **arguments)


def test_the_real_clock_counts_milliseconds():
    measurement = measure(
        {"a": lambda i: sum(range(1000))}, reference="a", seconds=0.02, max_warm_up=0.05
    )
    assert all(len(block) >= 2 for block in measurement.timings["a"].turns)
    assert 0 < measurement.timings["a"].summary.median < 1000


def test_the_time_of_the_device_is_used_instead_of_the_host():
    machine = Machine()
    host = machine.candidate("device", steady(9))

    def device(i: int) -> float:
        host(i)
        return 2.0

    measured = measure(
        {"host": machine.candidate("host", steady(4)), "device": DeviceRun(device)},
        reference="host",
        seconds=0.5,
        clock=machine.clock,
    )
    assert set(measured.timings["device"].samples) == {2.0}
    assert measured.ratio("device").value == pytest.approx(0.5)
