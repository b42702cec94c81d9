"""The properties of all sessions, and the messages for errors of ONNX Runtime."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgekit.artifact import Artifact, TensorSpec
from edgekit.errors import BadNetwork, EnvironmentLacks
from edgekit.machine.cores import usable_cores
from edgekit.runtimes import availability, onnxruntime
from edgekit.runtimes import torch as torch_runtime
from edgekit.runtimes.base import Runtime, Session, SessionOptions, batches, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.runtimes.torch import TorchSession

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)


def linear(path, batch="n", dtype=TensorProto.FLOAT) -> Artifact:
    """``y = x Wᵀ``."""
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)]
    x, y = (
        helper.make_tensor_value_info(n, dtype, [batch, size]) for n, size in (("x", 3), ("y", 4))
    )
    weight = numpy_helper.from_array(WEIGHT.astype(helper.tensor_dtype_to_np_dtype(dtype)), "w")
    model = helper.make_model(
        helper.make_graph(nodes, "linear", [x], [y], [weight]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, str(path))
    return Artifact(path, "onnx", "fp32", (), (), "")


@pytest.fixture(params=["onnxruntime", "torch"])
def session(request, tmp_path):
    if request.param == "onnxruntime":
        return OnnxRuntime().load(linear(tmp_path / "linear.onnx"), SessionOptions(threads=1))
    module = nn.Linear(3, 4, bias=False)
    module.weight.data = torch.from_numpy(WEIGHT.copy())
    return TorchSession(
        module.train(),
        TensorSpec("x", ("n", 3), "float32"),
        TensorSpec("y", ("n", 4), "float32"),
        SessionOptions(threads=1),
    )


X = np.array([[1, 2, 3], [-1, 0, 1]], np.float32)


def test_a_session_runs_and_says_what_it_takes_and_gives(session):
    with session as opened:
        assert opened is session
        assert [str(s) for s in (*session.inputs, *session.outputs)] == [
            "x: float32[n, 3]",
            "y: float32[n, 4]",
        ]
        feeds = {"x": X.copy()}
        outputs = session.run(feeds)
        np.testing.assert_allclose(outputs["y"], X @ WEIGHT.T)
        assert list(outputs) == ["y"]
        np.testing.assert_array_equal(feeds["x"], X)


def test_the_calls_for_measuring_run_the_network(session):
    with session:
        session.bind({"x": X})
        session.enqueue()
        session.synchronize()
        np.testing.assert_allclose(session.run({"x": 2 * X})["y"], 2 * X @ WEIGHT.T)


@pytest.mark.parametrize("kind", [TorchSession, onnxruntime.OnnxRuntimeSession])
def test_sessions_have_the_protocols_methods(kind):
    for name, method in vars(Session).items():
        if inspect.isfunction(method) and name not in ("__init__", "__subclasshook__"):
            assert list(inspect.signature(getattr(kind, name)).parameters) == list(
                inspect.signature(method).parameters
            ), name


def test_onnx_runtime_has_the_runtimes_methods():
    for name in ("available", "load"):
        assert (
            inspect.signature(getattr(OnnxRuntime, name)).parameters.keys()
            == inspect.signature(getattr(Runtime, name)).parameters.keys()
        )
    assert OnnxRuntime().name == "onnxruntime"


def test_torch_runs_in_evaluation_mode_and_without_gradients():
    module = nn.Sequential(nn.Dropout(0.9), nn.Linear(3, 4))
    specs = TensorSpec("x", (1, 3), "float32"), TensorSpec("y", (1, 4), "float32")
    opened = TorchSession(module.train(), *specs, SessionOptions(threads=1))
    first, second = (opened.run({"x": X[:1]})["y"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not module.training


# ---- ONNX Runtime's failures


def test_a_file_that_it_cannot_load(tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"words")
    with pytest.raises(BadNetwork, match=r"onnxruntime cannot load bad\.onnx: .") as caught:
        OnnxRuntime().load(Artifact(path, "onnx", "fp32", (), (), ""), SessionOptions())
    assert "\n" not in caught.value.message
    with pytest.raises(BadNetwork, match=r"cannot load absent\.onnx"):
        OnnxRuntime().load(
            Artifact(tmp_path / "absent.onnx", "onnx", "fp32", (), (), ""), SessionOptions()
        )


def test_an_operator_that_it_does_not_know(tmp_path):
    artifact = linear(tmp_path / "odd.onnx")
    proto = onnx.load(str(artifact.path))
    proto.graph.node[0].domain = "somebody"
    proto.opset_import.append(helper.make_opsetid("somebody", 1))
    onnx.save(proto, str(artifact.path))
    with pytest.raises(BadNetwork, match="somebody"):
        OnnxRuntime().load(artifact, SessionOptions())


def test_feeds_that_do_not_fit(tmp_path):
    with OnnxRuntime().load(linear(tmp_path / "linear.onnx"), SessionOptions()) as session:
        with pytest.raises(BadNetwork, match=r"onnxruntime stopped while running the graph: .*x"):
            session.run({"x": np.zeros((1, 5), np.float32)})
        with pytest.raises(BadNetwork, match="stopped while running"):
            session.run({"x": np.zeros((1, 3), np.float64)})
        with pytest.raises(BadNetwork, match="stopped while running"):
            session.run({})


def test_without_the_package_it_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setattr(onnxruntime, "find_spec", lambda name: None)
    found = OnnxRuntime().available()
    assert (found.ok, found.reason, found.install_hint) == (
        False,
        "not installed",
        "pip install 'edgekit[cpu]'",
    )
    with pytest.raises(EnvironmentLacks) as caught:
        OnnxRuntime().load(linear(tmp_path / "linear.onnx"), SessionOptions())
    assert caught.value.hint == "pip install 'edgekit[cpu]'"
    monkeypatch.setattr(torch_runtime, "find_spec", lambda name: None)
    assert torch_runtime.available().install_hint == "pip install 'edgekit[export]'"


def test_the_number_of_threads_is_obeyed(tmp_path):
    with OnnxRuntime().load(linear(tmp_path / "linear.onnx"), SessionOptions(threads=1)) as session:
        assert session._session.get_session_options().intra_op_num_threads == 1


def test_by_default_half_of_the_cores_are_used(tmp_path):
    with OnnxRuntime().load(linear(tmp_path / "linear.onnx"), SessionOptions()) as session:
        assert session._session.get_session_options().intra_op_num_threads == max(
            1, usable_cores() // 2
        )


def test_the_threads_of_torch_are_as_before_when_its_session_ends():
    before = torch.get_num_threads()
    x, y = (TensorSpec(name, ("n", 3), "float32") for name in "xy")
    with TorchSession(nn.Identity(), x, y, SessionOptions(threads=before + 1)) as session:
        assert torch.get_num_threads() == before + 1
        session.run({"x": X})
    assert torch.get_num_threads() == before


def test_half_inputs_are_told_by_name(tmp_path):
    with OnnxRuntime().load(
        linear(tmp_path / "half.onnx", dtype=TensorProto.FLOAT16), SessionOptions()
    ) as session:
        assert (session.inputs[0].dtype, session.outputs[0].dtype) == ("float16", "float16")
        assert run_batches(session, X).dtype == np.float32


# ---- batches


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8])
def test_a_static_batch_is_filled_with_the_last_image(count):
    images = np.arange(count * 2, dtype=np.float64).reshape(count, 2)
    made = list(batches(TensorSpec("x", (4, 2), "float32"), images))
    assert [len(batch) for batch, _ in made] == [4] * -(-count // 4)
    assert sum(real for _, real in made) == count
    np.testing.assert_array_equal(np.concatenate([batch[:real] for batch, real in made]), images)
    last, real = made[-1]
    assert (last[real:] == images[-1]).all()
    assert all(batch.dtype == np.float32 and batch.flags.c_contiguous for batch, _ in made)


def test_a_dynamic_batch_takes_images_one_by_one():
    made = list(batches(TensorSpec("x", ("n", 2), "float16"), np.ones((3, 2), np.float32)))
    assert [(batch.shape, real, batch.dtype) for batch, real in made] == [
        ((1, 2), 1, np.float16)
    ] * 3


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("batch", ["n", 1, 2, 4])
def test_all_images_are_run_in_order_whatever_the_batch(tmp_path, batch, at_once):
    images = np.random.default_rng(0).normal(size=(31, 3)).astype(np.float32)
    with OnnxRuntime().load(
        linear(tmp_path / "linear.onnx", batch), SessionOptions(threads=1)
    ) as session:
        np.testing.assert_allclose(
            run_batches(session, images, at_once=at_once), images @ WEIGHT.T, rtol=1e-5, atol=1e-5
        )


def test_images_are_read_as_they_are_run_and_an_error_ends_the_work(tmp_path):
    read = []

    def images():
        for number in range(1000):
            read.append(number)
            yield np.zeros(2, np.float32)  # the graph takes three numbers

    with (
        OnnxRuntime().load(linear(tmp_path / "linear.onnx"), SessionOptions(threads=1)) as session,
        pytest.raises(BadNetwork, match="stopped while running"),
    ):
        run_batches(session, images(), at_once=3)
    assert len(read) < 100


# ---- what is there


def test_every_runtime_answers_for_this_machine():
    found = availability()
    assert list(found) == [
        "torch",
        "onnxruntime",
        "onnxruntime-cuda",
        "onnxruntime-tensorrt",
        "tensorrt",
        "tensorrt-rtx",
    ]
    assert found["torch"].ok and found["torch"].version == version("torch")
    assert found["onnxruntime"].ok and found["onnxruntime"].version == version("onnxruntime")
    for answer in found.values():
        assert answer.ok or (answer.reason and answer.install_hint)
