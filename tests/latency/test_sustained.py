"""A load that lasts, on a machine whose time and heat are ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edgekit.latency.sustained import sustain
from edgekit.machine.environment import Snapshot
from edgekit.machine.jetson import JetsonState
from edgekit.machine.nvidia import GpuState

BLIND = Snapshot((), 0.5, {}, (), None)
GPU = GpuState(1500, 5000, 30.0, 60.0, ())


class Machine:
    """Half as fast from ``hot`` seconds on; every look takes half a second."""

    def __init__(self, hot: float, looks: Callable[[float], Snapshot]) -> None:
        self.now = 0
        self._hot = hot * 1e9
        self._looks = looks

    def clock(self) -> int:
        return self.now

    def run(self, i: int) -> None:
        self.now += 20_000_000 if self.now >= self._hot else 10_000_000

    def look(self) -> Snapshot:
        seen = self._looks(self.now / 1e9)
        self.now += 500_000_000
        return seen


def sustained(machine: Machine, seconds: float):
    return sustain("a", machine.run, seconds, clock=machine.clock, look=machine.look)


def test_windows_show_when_it_slows_down() -> None:
    curve = sustained(Machine(30, lambda now: BLIND), 60)
    assert [w.median for w in curve.windows[:15]] == [10.0] * 15
    assert [w.median for w in curve.windows[-15:]] == [20.0] * 15
    assert curve.change.value == pytest.approx(2)
    assert curve.change.slower
    starts = [w.start for w in curve.windows]
    assert starts == sorted(starts) and starts[0] < 1
    assert 60 <= curve.seconds < 62
    # The looks take time, and no window counts it.
    assert all(w.runs <= 101 for w in curve.windows)
    assert max(w.p99 for w in curve.windows) == 20.0


def test_what_the_machine_does_not_tell_is_named_and_never_made_up() -> None:
    curve = sustained(Machine(1e9, lambda now: BLIND), 8)
    assert curve.unread == (
        "CPU clocks",
        "GPU clocks",
        "temperature",
        "power",
        "throttling of the CPU",
        "throttling of the GPU",
    )
    for w in curve.windows:
        assert (w.cpu_mhz, w.gpu_mhz, w.temperature, w.power, w.throttled) == (None,) * 4 + ((),)
    assert not (curve.change.slower or curve.change.faster)


def test_a_gpu_tells_clocks_heat_power_and_what_holds_it() -> None:
    def look(now: float) -> Snapshot:
        gpu = GPU if now < 6 else replace(GPU, sm_mhz=900, reasons=("hardware thermal slowdown",))
        return replace(BLIND, gpus=(gpu,), cpu_mhz=(1000, 3000, 2000), temperatures={"soc": 41.5})

    curve = sustained(Machine(6, look), 12)
    first, last = curve.windows[0], curve.windows[-1]
    assert (first.gpu_mhz, first.temperature, first.power, first.cpu_mhz) == (
        1500,
        60.0,
        30.0,
        2000,
    )
    assert (first.throttled, last.gpu_mhz) == ((), 900)
    assert last.throttled == curve.throttled == ("GPU 0: hardware thermal slowdown",)
    assert curve.unread == ("throttling of the CPU",)


def test_counters_that_grow_are_throttling_of_that_window_alone() -> None:
    def look(now: float) -> Snapshot:
        later = int(now > 5)
        jetson = JetsonState(918, 3 + later, 14.5)
        return replace(BLIND, cpu_throttles=7 + later, jetson=jetson, temperatures={"cpu": 70.0})

    curve = sustained(Machine(1e9, look), 10)
    held = [w for w in curve.windows if w.throttled]
    assert [w.throttled for w in held] == [("CPU: heat", "Jetson: over-current")]
    assert (held[0].gpu_mhz, held[0].power, held[0].temperature) == (918, 14.5, 70.0)


def test_a_very_slow_network_still_gets_its_windows() -> None:
    machine = Machine(1e9, lambda now: BLIND)

    def run(i: int) -> None:
        machine.now += 3_000_000_000

    curve = sustain("a", run, 4, clock=machine.clock, look=machine.look)
    assert len(curve.windows) == 16
    assert all(w.runs == 5 for w in curve.windows)


def test_a_short_load_has_enough_windows_for_its_interval() -> None:
    """With two windows in a quarter, chance alone would separate one load in three."""
    changed = 0
    for seed in range(100):
        machine, noise = Machine(1e9, lambda now: BLIND), np.random.default_rng(seed)

        def run(i: int, machine: Machine = machine, noise: np.random.Generator = noise) -> None:
            machine.now += int(10_000_000 * noise.lognormal(0, 0.05))

        curve = sustain("a", run, 4, clock=machine.clock, look=machine.look)
        assert len(curve.windows) == 16
        changed += curve.change.slower or curve.change.faster
    assert changed < 10


def test_too_short() -> None:
    with pytest.raises(ValueError, match="4 seconds or more"):
        sustain("a", lambda i: None, 3.9)
