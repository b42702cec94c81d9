"""Running engines with doubles of TensorRT and CUDA: numbers, waits, graphs, clocks, and that
everything is released. No number here is that of a GPU.
"""

from __future__ import annotations

import inspect
import sys

import numpy as np
import pytest

from edgekit.artifact import Artifact
from edgekit.errors import EnvironmentLacks, InputError
from edgekit.latency.phases import DeviceTimed
from edgekit.runtimes.base import Session, SessionOptions, run_batches
from edgekit.runtimes.tensorrt import TENSORRT, TENSORRT_RTX
from edgekit.runtimes.tensorrt.running.layertimes import layer_times
from edgekit.runtimes.tensorrt.running.session import EngineSession, EngineStreams

from .cuda_double import CudaDouble
from .doubles import LAST_10, RTX, STRONG_11, VERSIONS, WEAK, Scenario, install, plug_gpu

X = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture
def engine(tmp_path):
    path = tmp_path / "plan.engine"
    path.write_bytes(b"plan")
    return Artifact(path, "engine", "fp16", (), (), "0" * 64)


@pytest.fixture
def opened(monkeypatch, engine):
    """Opens the double's engine, y = 2x + 1, and checks at the end that everything was
    given back.
    """
    used: list[tuple[EngineSession, CudaDouble]] = []

    def load(version=LAST_10, memory=None, **scenario):
        cuda = CudaDouble(memory=memory)
        plug_gpu(monkeypatch)
        install(monkeypatch, version, Scenario(**{"shape": (2, 4), **scenario}), cuda)
        session = (TENSORRT_RTX if version == RTX else TENSORRT).load(engine, SessionOptions())
        used.append((session, cuda))
        return session, cuda

    yield load
    for session, cuda in used:
        session.__exit__(None, None, None)
        assert cuda.alive == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_engine_runs(opened, version):
    session, _ = opened(version)
    assert [str(spec) for spec in (*session.inputs, *session.outputs)] == [
        "x: float32[2, 4]",
        "y: float32[2, 4]",
    ]
    feeds = {"x": X.copy()}
    np.testing.assert_array_equal(session.run(feeds)["y"], 2 * X + 1)
    np.testing.assert_array_equal(session.run({"x": -X})["y"], 1 - 2 * X)
    np.testing.assert_array_equal(feeds["x"], X)


def test_an_output_does_not_change_with_the_next_inference(opened):
    session, _ = opened()
    first = session.run({"x": X})["y"]
    session.run({"x": -X})
    np.testing.assert_array_equal(first, 2 * X + 1)


@pytest.mark.parametrize("dtype", [("FLOAT", "float32"), ("HALF", "float16"), ("INT8", "int8")])
def test_buffers_take_the_engines_own_type(opened, dtype):
    session, _ = opened(dtype=dtype[0])
    assert session.inputs[0].dtype == session.outputs[0].dtype == dtype[1]
    answer = session.run({"x": X.astype(dtype[1])})["y"]
    assert answer.dtype == dtype[1]
    np.testing.assert_array_equal(answer, (2 * X + 1).astype(dtype[1]))


def test_an_inference_is_one_launch_of_a_graph(opened):
    session, cuda = opened()
    session.bind({"x": X})
    assert session.captured and session.notes == ()
    assert cuda.launched == []
    session.enqueue()
    assert cuda.launched == ["graph"]
    assert [ms for _, ms in cuda.queues[session.stream]] == [
        0.1,
        0.5,
    ]  # the copy that bind started, and the graph: no copy of the inference's own
    session.synchronize()
    np.testing.assert_array_equal(session.collect()["y"], 2 * X + 1)


def test_where_nothing_can_be_captured_it_says_so_and_runs(opened):
    session, cuda = opened(fails_capture=True)
    np.testing.assert_array_equal(session.run({"x": X})["y"], 2 * X + 1)
    assert not session.captured
    assert session.notes == (
        "no CUDA graph, inferences are enqueued layer by layer: cudaStreamEndCapture: "
        "cudaErrorStreamCaptureInvalidated (901): in words",
    )
    assert cuda.launched == []


@pytest.mark.parametrize("version", [*VERSIONS, RTX])
def test_kernels_are_compiled_before_a_graph_keeps_them(opened, version):
    """TensorRT-RTX would begin with slower kernels of every shape, and a graph would launch these
    for ever.
    """
    session, cuda = opened(version)
    np.testing.assert_array_equal(session.run({"x": X})["y"], 2 * X + 1)
    assert session.captured and cuda.launched == ["graph"]
    double = sys.modules["tensorrt_rtx" if version == RTX else "tensorrt"]
    assert double.called("create_execution_context") == ["EAGER" if version == RTX else None]


def test_rtx_is_asked_whether_an_engine_can_be_captured(opened):
    session, cuda = opened(RTX, is_capturable=False)
    np.testing.assert_array_equal(session.run({"x": X})["y"], 2 * X + 1)
    assert not session.captured and cuda.launched == []
    assert session.notes == (
        "no CUDA graph, inferences are enqueued layer by layer: the library reports that this "
        "engine "
        "cannot be captured",
    )


def test_the_device_tells_how_long_an_inference_took(opened):
    session, _ = opened()
    session.bind({"x": X})
    assert session.device_ms() == pytest.approx(
        0.5
    )  # what the double's kernel takes; the copies of 0.1 ms are left out
    timed: DeviceTimed = session
    assert timed.device_ms() == pytest.approx(0.5)


def test_it_has_the_protocols_methods():
    for kind in (EngineSession, EngineStreams):
        for name, method in vars(Session).items():
            if inspect.isfunction(method) and name not in ("__init__", "__subclasshook__"):
                assert list(inspect.signature(getattr(kind, name)).parameters) == list(
                    inspect.signature(method).parameters
                ), name


# ---- dynamic batches

PROFILES = ((1, 1, 1), (2, 6, 8), (4, 4, 4))


def test_a_batch_runs_in_the_profile_whose_best_is_nearest(opened):
    session, cuda = opened(shape=(-1, 4), profiles=PROFILES)
    assert str(session.inputs[0]) == "x: float32[batch, 4]"
    double = sys.modules["tensorrt"]
    for batch, profile in ((1, None), (4, 2), (2, 1), (8, 1), (5, 1)):
        before = len(double.called("set_optimization_profile_async"))
        x = np.full((batch, 4), batch, np.float32)
        np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x + 1)
        assert double.called("set_optimization_profile_async")[before:] == (
            [] if profile is None else [profile]
        )
    assert cuda.launched == ["graph"] * 5


def test_each_shape_is_captured_once(opened):
    session, cuda = opened(shape=(-1, 4), profiles=((1, 4, 8),))
    for batch in (1, 2, 1, 2, 1):
        session.run({"x": np.zeros((batch, 4), np.float32)})
    assert (
        sum(
            isinstance(held, list) and held and isinstance(held[0], tuple)
            for held in cuda.alive.values()
        )
        == 4
    )  # two graphs, two of them executable


def test_a_batch_that_no_profile_takes(opened):
    session, _ = opened(shape=(-1, 4), profiles=PROFILES)
    with pytest.raises(
        InputError, match="the engine accepts batches of 1, 2 to 8, 4, not 9"
    ) as caught:
        session.run({"x": np.zeros((9, 4), np.float32)})
    assert "`batch`" in (caught.value.hint or "")


def test_images_are_grouped_as_the_smallest_profile_takes_them(opened):
    session, _ = opened(shape=(-1, 4), profiles=((4, 4, 4), (8, 8, 8)))
    assert str(session.inputs[0]) == "x: float32[4, 4]"
    images = np.arange(24, dtype=np.float32).reshape(6, 4)
    np.testing.assert_array_equal(run_batches(session, images), 2 * images + 1)


# ---- wrong feeds


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "the engine's inputs are x, but the feeds are empty"),
        ({"z": X}, "the engine's inputs are x, but the feeds are z"),
        (
            {"x": X.astype(np.float64)},
            r"the engine needs x: float32\[2, 4\], but the feed is float64\[2, 4\]",
        ),
        ({"x": X[:1]}, r"the feed is float32\[1, 4\]"),
        ({"x": X[:, :3]}, r"the feed is float32\[2, 3\]"),
        ({"x": X[0]}, r"the feed is float32\[4\]"),
    ],
)
def test_feeds_that_do_not_fit(opened, feeds, message):
    session, _ = opened()
    with pytest.raises(InputError, match=message):
        session.run(feeds)


def test_nothing_bound(opened):
    session, _ = opened()
    with pytest.raises(ValueError, match="nothing is bound yet"):
        session.enqueue()


# ---- streams


def test_streams_run_at_the_same_time(monkeypatch, engine):
    cuda = CudaDouble()
    plug_gpu(monkeypatch)
    install(monkeypatch, STRONG_11, Scenario(shape=(2, 4)), cuda)
    with TENSORRT.load_streams(engine, 3) as streams:
        streams.bind({"x": X})
        streams.synchronize()
        for _ in range(3):
            streams.enqueue()
        assert [len(queue) for queue in cuda.queues.values()] == [1, 1, 1]
        streams.enqueue()  # the first has to be done with its last before
        assert [len(queue) for queue in cuda.queues.values()] == [1, 1, 1]
        assert cuda.launched == ["graph"] * 4
        streams.synchronize()
        np.testing.assert_array_equal(streams.run({"x": -X})["y"], 1 - 2 * X)
    assert cuda.alive == {}


# ---- the layers' own times and the inspector


def test_layers_are_timed_by_the_library(opened):
    session, cuda = opened()
    assert layer_times(session, {"x": X}, runs=5) == {"first": 0.25, "second": 0.75}
    assert cuda.launched == []
    session.enqueue()
    assert cuda.launched == ["graph"]  # the graph is in use again


def test_layers_of_one_name_count_as_one(opened):
    """As each inference tells them, and not the one time of the two that lies in the middle."""
    session, _ = opened(timed=(("copy", 0.25), ("conv", 0.5), ("copy", 1.0)))
    assert layer_times(session, {"x": X}, runs=3) == {"copy": 1.25, "conv": 0.5}


def test_the_engine_tells_its_layers(opened):
    session, _ = opened(inspector='{"Layers": ["a", "b"]}')
    session.bind({"x": X})
    assert [layer.name for layer in session.layers()] == ["a", "b"]


# ---- what can go wrong


def test_an_engine_from_elsewhere_is_refused_in_tensorrts_words(monkeypatch, engine):
    said = (
        "The engine plan file is generated on an incompatible device, expecting compute 8.6 got "
        "compute 7.5, please rebuild."
    )
    plug_gpu(monkeypatch)
    install(monkeypatch, WEAK, Scenario(refuses=said), CudaDouble())
    with pytest.raises(
        InputError,
        match=r"tensorrt 8\.6\.0 cannot load plan\.engine: The engine plan file is generated on "
        r"an incompatible",
    ) as caught:
        TENSORRT.load(engine, SessionOptions())
    assert "edgekit build" in (caught.value.hint or "")


def test_a_gpu_without_memory(opened):
    session, cuda = opened(memory=8)
    held = len(cuda.alive)
    with pytest.raises(
        EnvironmentLacks,
        match=r"the GPU has too little memory: cudaMalloc: cudaErrorMemoryAllocation \(2\)",
    ):
        session.run({"x": X})
    assert len(cuda.alive) == held


def test_a_context_without_memory(opened):
    session, _ = opened(context_fails=True)
    with pytest.raises(EnvironmentLacks, match="the GPU has too little memory to run the engine"):
        session.run({"x": X})


def test_a_call_that_fails_is_named(opened, monkeypatch):
    session, cuda = opened()
    monkeypatch.setattr(cuda, "cudaMallocHost", lambda size: (cuda_double_error(100), None))
    with pytest.raises(
        EnvironmentLacks, match=r"cudaMallocHost: cudaErrorNoDevice \(100\): in words"
    ):
        session.run({"x": X})


def cuda_double_error(code):
    from .cuda_double import ERROR

    return ERROR(code)
