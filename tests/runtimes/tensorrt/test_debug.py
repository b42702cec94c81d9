"""Values that an engine reports while it runs, with doubles of TensorRT and CUDA. This was not
tried with an engine on a GPU.
"""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.artifact import Artifact, Carrier
from edgekit.errors import BadNetwork
from edgekit.graph.trace import TraceConfig, trace
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.tensorrt import TENSORRT, TENSORRT_RTX, BuildConfig
from edgekit.runtimes.tensorrt.running.cuda import Cuda, CudaError
from edgekit.runtimes.tensorrt.running.debug import make_listener
from edgekit.sources import NetworkRequest, open_network

from .cuda_double import ERROR, CudaDouble
from .doubles import (
    LAST_10,
    STRONG_10,
    STRONG_11,
    VERSIONS,
    WEAK,
    DebugTensor,
    Scenario,
    install,
    plug_gpu,
)

X = np.arange(8, dtype=np.float32).reshape(2, 4) - 3
UNFUSED = (
    DebugTensor("relu", lambda x: np.maximum(x, 0)),
    DebugTensor("sum", lambda x: x.sum(1, keepdims=True), "HOST"),
    DebugTensor("codes", lambda x: np.rint(x / 0.5).astype(np.int8)),
    DebugTensor("__myln_k_arg__bb1_3_myl4", lambda x: x - 1),
)
MARKED = BuildConfig(debug_tensors=True)


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Builds and opens the double's engine, y = 2x + 1, and checks at the end that everything was
    given back.
    """
    used = []

    def load(version=LAST_10, config=MARKED, **scenario):
        cuda = CudaDouble()
        plug_gpu(monkeypatch)
        install(
            monkeypatch,
            version,
            Scenario(**{"shape": (2, 4), "unfused": UNFUSED, **scenario}),
            cuda,
        )
        graph = Artifact(tmp_path / "x.onnx", "onnx", "fp16", (), (), "")
        session = TENSORRT.load_debug(TENSORRT.build(graph, tmp_path / "plan.engine", config))
        used.append((session, cuda))
        return session, cuda

    yield load
    for session, cuda in used:
        session.__exit__(None, None, None)
        assert cuda.alive == {}


@pytest.mark.parametrize("version", [LAST_10, STRONG_11])
def test_readable_values_are_reported_and_requested_ones_read(opened, version):
    session, cuda = opened(version)
    session.wanted = {
        "a": Carrier("relu"),
        "b": Carrier("sum"),
        "c": Carrier("codes", 0.5),
        "d": Carrier("y"),
    }
    for x in (X, -X):  # the second finds nothing of the first
        found = session.run({"x": x})
        np.testing.assert_array_equal(found["a"], np.maximum(x, 0))
        np.testing.assert_array_equal(found["b"], x.sum(1, keepdims=True))
        np.testing.assert_array_equal(found["c"], x)
        np.testing.assert_array_equal(found["d"], 2 * x + 1)
    assert list(found) == ["a", "b", "c", "d"]
    assert [str(spec) for spec in session.emitted.values()] == [
        "relu: float32[2, 4]",
        "sum: float32[2, 1]",
        "codes: int8[2, 4]",
        "__myln_k_arg__bb1_3_myl4: float32[2, 4]",
    ]
    assert [spec.name for spec in session.outputs] == ["relu", "sum", "codes", "y"]
    assert cuda.launched == []  # a listener on the host is no part of a CUDA graph


def test_only_what_is_wanted_is_copied(opened, monkeypatch):
    session, cuda = opened()
    copied, copy = [], cuda.cudaMemcpyAsync
    monkeypatch.setattr(
        cuda,
        "cudaMemcpyAsync",
        lambda to, source, size, kind, stream: (
            copied.append(size),
            copy(to, source, size, kind, stream),
        )[1],
    )
    session.run({"x": X})
    assert copied == [32, 32]  # the input and the output
    session.wanted = {"c": Carrier("codes", 0.5)}
    session.run({"x": X})
    assert copied == [32, 32, 32, 8, 32]


def test_the_first_tensor_of_a_name_counts(opened):
    session, _ = opened(unfused=(UNFUSED[0], DebugTensor("relu", lambda x: x * 0)))
    session.wanted = {"a": Carrier("relu")}
    np.testing.assert_array_equal(session.run({"x": X})["a"], np.maximum(X, 0))


def test_a_copy_that_fails_is_raised_though_the_library_swallows_it(opened, monkeypatch):
    session, cuda = opened()
    copy = cuda.cudaMemcpyAsync
    monkeypatch.setattr(
        cuda,
        "cudaMemcpyAsync",
        lambda *given: (ERROR.cudaErrorMemoryAllocation,) if given[2] == 8 else copy(*given),
    )
    session.wanted = {"c": Carrier("codes", 0.5)}
    with pytest.raises(CudaError, match="cudaMemcpyAsync"):
        session.run({"x": X})


def test_a_tensor_that_is_not_reported(opened):
    session, _ = opened()
    session.wanted = {"a": Carrier("fused")}
    with pytest.raises(BadNetwork, match="does not report tensor fused"):
        session.run({"x": X})


def test_an_engine_that_was_built_without_them_tells_nothing(opened):
    session, _ = opened(config=BuildConfig())
    session.run({"x": X})
    assert session.emitted == {}


def test_a_session_without_a_listener_is_told_nothing_and_captured(opened, tmp_path):
    _, cuda = opened()
    with TENSORRT.load(
        Artifact(tmp_path / "plan.engine", "engine", "fp16", (), (), ""), SessionOptions()
    ) as session:
        session.run({"x": X})
        assert session.captured and cuda.launched == ["graph"]


def test_which_versions_have_them(monkeypatch):
    assert TENSORRT_RTX.library().has_debug_tensors
    found = {}
    for version in VERSIONS:
        install(monkeypatch, version)
        found[version] = TENSORRT.library().has_debug_tensors
    assert found == {WEAK: False, STRONG_10: False, LAST_10: True, STRONG_11: True}


# ---- for real, as far as TensorRT-RTX goes without a GPU


def test_marks_are_built_in_and_change_nothing_else(tmp_path):
    network = open_network(NetworkRequest("lenet5"))
    lenet = trace(network.module, tmp_path / "lenet.onnx", TraceConfig(network.input.shape(1)[1:]))
    plain, marked = (
        TENSORRT_RTX.build(
            lenet, tmp_path / f"{debug}.engine", BuildConfig("sm86", debug_tensors=debug)
        ).path.read_bytes()
        for debug in (False, True)
    )
    assert plain != marked and len(plain) == len(marked)


def test_the_listener_is_one_that_the_library_takes():
    trt = TENSORRT_RTX.library().trt
    values = np.arange(6, dtype=np.float16).reshape(2, 3)
    cuda = CudaDouble()
    listener = make_listener(trt, Cuda(cuda))
    assert isinstance(listener, trt.IDebugListener)
    listener.begin(("a",))
    stream = cuda.cudaStreamCreateWithFlags(1)[1]
    for name in ("a", "b"):
        shape = trt.Dims(values.shape)
        assert listener.process_debug_tensor(
            values.ctypes.data, trt.TensorLocation.DEVICE, trt.DataType.HALF, shape, name, stream
        )
    np.testing.assert_array_equal(listener.values["a"], values)
    assert list(listener.values) == ["a"] and [str(spec) for spec in listener.emitted.values()] == [
        "a: float16[2, 3]",
        "b: float16[2, 3]",
    ]
