"""The warnings about measurements, at and beyond each limit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekit.latency import cautions
from edgekit.latency.clock import Measurement, Timing, WarmUp
from edgekit.latency.statistics import Summary
from edgekit.machine.environment import describe
from edgekit.machine.nvidia import GpuState
from tests.machine.nvml_double import no_driver

WARM = WarmUp(200, 0.2, settled=True)


def timing(*medians: float, warm: WarmUp = WARM) -> Timing:
    return Timing(warm, tuple((median,) * 3 for median in medians for _ in "ab"))


QUIET = Measurement(
    "torch",
    {"torch": timing(10, 10, 10, 10, 10), "onnx": timing(5, 5, 5, 5, 5)},
    timing(10, 10, 10, 10, 10),
)


def calm(tmp_path, *, load: float | None = 0.5):
    """A machine of two cores."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\nprocessor : 1\n")
    environment = describe(tmp_path, lambda command: None, no_driver())
    return replace(environment, before=replace(environment.before, load=load)).finished(
        tmp_path, no_driver()
    )


@pytest.mark.parametrize(("cv", "warned"), [(0.025, False), (0.026, True)])
def test_unstable(cv, warned):
    caution = cautions.unstable(
        {"torch": Summary(1, 1, 1, 1, 0.01, 10), "onnx": Summary(1, 1, 1, 1, cv, 10)}
    )
    assert bool(caution) == warned
    if caution:
        assert caution.message == "latencies vary: onnx by 2.6% of the mean (above 2.5%)"
        assert "jetson_clocks" in caution.fix


@pytest.mark.parametrize(("enqueue", "warned"), [(0.8, False), (0.81, True)])
def test_enqueue_bound(enqueue, warned):
    caution = cautions.enqueue_bound(enqueue, 1.0)
    assert bool(caution) == warned
    if caution:
        assert "0.810 ms, and the GPU 1.000 ms" in caution.message
        assert "CUDA graph" in caution.fix


@pytest.mark.parametrize(
    ("copy_in", "copy_out", "named"),
    [
        (0.9, 0.9, ""),
        (1.0, 0.1, "copying in 1.000 ms, and the GPU"),
        (0.1, 2.0, "copying out 2.000 ms, and the GPU"),
        (1.0, 1.0, "copying in 1.000 ms and copying out 1.000 ms, and the GPU"),
    ],
)
def test_copy_bound(copy_in, copy_out, named):
    caution = cautions.copy_bound(copy_in, copy_out, 1.0)
    assert bool(caution) == bool(named)
    if caution:
        assert caution.message.startswith(named)


@pytest.mark.parametrize(("load", "warned"), [(2.0, False), (2.1, True)])
def test_busy(load, warned):
    caution = cautions.busy(load, 2)
    assert bool(caution) == warned


def test_nothing_to_say_of_a_quiet_measurement(tmp_path):
    assert cautions.of_measurement(QUIET, calm(tmp_path)) == ()


def test_a_reference_that_differs_from_itself(tmp_path):
    tilted = replace(QUIET, again=timing(11, 11, 11, 11, 11))
    (caution,) = cautions.of_measurement(tilted, calm(tmp_path))
    assert caution.message == "torch against itself gives 1.100 (1.100 to 1.100), not 1"


@pytest.mark.parametrize(("factor", "warned"), [(0.985, True), (1.015, True), (0.9, False)])
def test_differences_that_two_sessions_of_one_graph_have(tmp_path, factor, warned):
    blocks = [factor * block for block in QUIET.timings["torch"].medians]
    near = replace(QUIET, timings={**QUIET.timings, "onnx": timing(*blocks)})
    found = [caution.message for caution in cautions.of_measurement(near, calm(tmp_path))]
    assert any(f"torch: onnx {factor:.3f}; two sessions" in message for message in found) == warned
    assert len(found) == warned


def test_everything_wrong_at_once(tmp_path):
    moving = timing(5, 6, 7, 8, 9, warm=WarmUp(40, 5.0, settled=False))
    environment = calm(tmp_path, load=7.0)
    assert environment.after is not None
    hot = GpuState(900, 5000, 80, 95, ("idle", "hardware thermal slowdown"))
    environment = replace(environment, after=replace(environment.after, gpus=(hot,)))
    found = cautions.of_measurement(
        replace(QUIET, timings={**QUIET.timings, "onnx": moving}), environment
    )
    assert [caution.message for caution in found] == [
        "not settled by the warm-up: onnx after 40 runs in 5.0 s",
        "latencies vary: onnx by 20.2% of the mean (above 2.5%)",
        "the load average is 7.0 on 2 cores: other programs were running",
        "GPU 0 is slowed down: hardware thermal slowdown",
    ]


def test_an_unknown_load_is_no_load(tmp_path):
    assert cautions.of_measurement(QUIET, calm(tmp_path, load=None)) == ()


@pytest.mark.parametrize(
    ("architecture", "flags", "warned"),
    [
        ("x86_64", ("avx2",), True),
        ("x86_64", ("avx2", "avx_vnni"), False),
        ("x86_64", ("amx_int8",), False),
        ("aarch64", ("asimd",), False),
    ],
)
def test_int8_without_vnni(tmp_path, architecture, flags, warned):
    environment = calm(tmp_path)
    cpu = replace(environment.cpu, architecture=architecture, flags=flags)
    caution = cautions.exact_int8(replace(environment, cpu=cpu))
    assert bool(caution) == warned
