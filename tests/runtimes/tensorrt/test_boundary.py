"""Engines that take FP16 or INT8: what the network is made into, what a session feeds, and that the
codes are those of the graph's own quantizer.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.artifact import Artifact, TensorSpec
from edgekit.errors import InputError
from edgekit.graph.io import load, save
from edgekit.runtimes.base import SessionOptions, as_input, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.runtimes.tensorrt import TENSORRT, TENSORRT_RTX, BuildConfig
from edgekit.runtimes.tensorrt.building.boundary import change_io, specs
from edgekit.runtimes.tensorrt.building.config import parse_io
from edgekit.runtimes.tensorrt.building.network import parse
from edgekit.runtimes.tensorrt.log import make_log

from .cuda_double import CudaDouble
from .doubles import STRONG_10, VERSIONS, WEAK, LayerSpec, Scenario, install, plug_gpu

QUANTIZED = (
    LayerSpec("scale", "CONSTANT", weights=np.array([0.02], np.float32)),
    LayerSpec("input/QuantizeLinear", "QUANTIZE", "INT8", inputs=("input", "scale")),
    LayerSpec("stem/Conv", inputs=("input/QuantizeLinear",)),
)
needs_rtx = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None,
    reason="tensorrt_rtx is not installed: pip install 'edgekit[rtx]'",
)


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def small(tmp_path):
    """An INT8 graph of one convolution; the step of its input is 0.02."""
    codes = np.rint(np.random.default_rng(1).normal(size=(16, 3, 1, 1)) * 40).astype(np.int8)
    constants = {"w": codes, "s": np.float32(0.02), "t": np.float32(0.01), "z": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "t", "z"], ["v"]),
        helper.make_node("Conv", ["d", "v"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    x, y = (
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16]),
    )
    graph = helper.make_graph(
        nodes,
        "small",
        [x],
        [y],
        [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
    )
    path = tmp_path / "small.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        str(path),
    )
    return save(load(path), path, "int8")


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    return Artifact(tmp_path / "model.onnx", "onnx", "int8", (), (), "0" * 64)


@pytest.fixture
def double(monkeypatch):
    plug_gpu(monkeypatch)
    return lambda version, **scenario: install(monkeypatch, version, Scenario(**scenario))


@pytest.mark.parametrize("version", VERSIONS)
def test_int8_images_are_numbers_again_before_the_graphs_own_quantizer(double, model, version):
    trt = double(version, layers=QUANTIZED)
    plan = TENSORRT.plan(model, BuildConfig(io="int8"))
    assert plan.step == pytest.approx(0.02)
    assert trt.called("add_input") == [("input", "INT8", (1, 3, 8, 8))]
    assert trt.called("add_dequantize") == [
        ("input", "constant 0.02", *(() if version == WEAK else ("FLOAT",)))
    ]
    assert trt.called("set_input") == [("input/QuantizeLinear", 0, "numbers of input")]
    assert trt.called("remove_tensor") == ["input|graph"]
    assert trt.called("mark_output") == []


@pytest.mark.parametrize("version", VERSIONS)
def test_half_images_and_scores_are_cast(double, model, version):
    trt = double(version, layers=QUANTIZED)
    plan = TENSORRT.plan(model, BuildConfig(io="fp16"))
    assert plan.step is None
    assert trt.called("add_input") == [("input", "HALF", (1, 3, 8, 8))]
    assert trt.called("set_input") == [("input/QuantizeLinear", 0, "cast of input")]
    assert trt.called("unmark_output") == ["logits"] and trt.called("mark_output") == ["logits"]
    network = trt.networks[-1]
    assert (network.get_input(0).dtype.name, network.get_output(0).dtype.name) == ("HALF", "HALF")
    assert trt.called("ITensor.dtype, ignored") == []


def test_the_graphs_own_types_are_left_alone(double, model):
    trt = double(STRONG_10, layers=QUANTIZED)
    assert TENSORRT.plan(model, BuildConfig()).step is None
    assert trt.called("add_input") == trt.called("mark_output") == []


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            (LayerSpec("stem/Conv", inputs=("input",)),),
            "needs a graph that quantizes its whole image",
        ),
        (
            (*QUANTIZED, LayerSpec("skip/Add", inputs=("stem/Conv", "input"))),
            "needs a graph that quantizes its whole image",
        ),
        (QUANTIZED[1:], "scale, is not a constant"),
    ],
)
def test_a_graph_that_cannot_take_codes(double, model, layers, message):
    double(STRONG_10, layers=layers)
    with pytest.raises(InputError, match=message):
        TENSORRT.plan(model, BuildConfig(io="int8"))


def test_a_session_feeds_codes(monkeypatch, tmp_path):
    (tmp_path / "plan.engine").write_bytes(b"plan")
    plug_gpu(monkeypatch)
    install(
        monkeypatch, STRONG_10, Scenario(shape=(2, 4), dtype="INT8", output="FLOAT"), CudaDouble()
    )
    images = np.array([[0.0, 0.5, -0.26, 9.0], [0.25, 0.75, -9.0, 0.1]], np.float32)
    inputs, outputs = specs(
        (TensorSpec("x", (2, 4), "float32"),), (TensorSpec("y", (2, 4), "float32"),), "int8", 0.5
    )
    engine = Artifact(tmp_path / "plan.engine", "engine", "int8", inputs, outputs, "0" * 64)
    with TENSORRT.load(engine, SessionOptions()) as session:
        assert session.inputs == inputs
        np.testing.assert_array_equal(
            run_batches(session, images), 2 * np.array([[0, 1, -1, 18], [0, 2, -18, 0]]) + 1
        )  # ties to even


@pytest.mark.parametrize(
    ("types", "words"),
    [
        (("FLOAT", "HALF"), "input x must be float16"),
        (("HALF", "FLOAT"), "output y must be float16"),
    ],
)
def test_an_engine_of_other_types_than_its_record_says(monkeypatch, tmp_path, types, words):
    """Its buffers would be too small, or read as other numbers."""
    (tmp_path / "plan.engine").write_bytes(b"plan")
    plug_gpu(monkeypatch)
    install(
        monkeypatch, WEAK, Scenario(shape=(2, 4), dtype=types[0], output=types[1]), CudaDouble()
    )
    inputs, outputs = specs(
        (TensorSpec("x", (2, 4), "float32"),), (TensorSpec("y", (2, 4), "float32"),), "fp16", None
    )
    with pytest.raises(InputError, match=words) as caught:
        TENSORRT.load(
            Artifact(tmp_path / "plan.engine", "engine", "fp16", inputs, outputs, "0" * 64),
            SessionOptions(),
        )
    assert "build it again with `force`" in (caught.value.hint or "")


def test_an_engine_for_a_dla_is_opened_on_its_core(monkeypatch, tmp_path):
    (tmp_path / "plan.engine").write_bytes(b"plan")
    plug_gpu(monkeypatch)
    for core in (1, None):
        trt = install(monkeypatch, WEAK, Scenario(), CudaDouble())
        with TENSORRT.load(
            Artifact(tmp_path / "plan.engine", "engine", "fp16", (), (), "0" * 64, dla_core=core),
            SessionOptions(),
        ):
            assert trt.called("Runtime.DLA_core") == ([] if core is None else [1])


def test_codes_stay_on_the_grid():
    spec = TensorSpec("x", (1, 4), "int8", 0.5)
    assert as_input(spec, np.array([[1000.0, -1000.0, 63.6, -64.2]], np.float32)).tolist() == [
        [127, -128, 127, -128]
    ]


def test_codes_are_those_of_the_graphs_own_quantizer(small, images):
    """Quantized, taken back to numbers and quantized again, an image is what the graph's quantizer
    alone makes of it.
    """
    codes = as_input(TensorSpec("x", (1, 3, 8, 8), "int8", float(np.float32(0.02))), images)
    with OnnxRuntime(as_written=True).load(small, SessionOptions()) as session:
        again = run_batches(session, codes * np.float32(0.02))
        np.testing.assert_array_equal(again, run_batches(session, images))
    assert len(np.unique(codes)) > 100


@needs_rtx
@pytest.mark.parametrize(
    ("io", "types"),
    [("fp32", ("FLOAT", "FLOAT")), ("fp16", ("HALF", "HALF")), ("int8", ("INT8", "FLOAT"))],
)
def test_tensorrt_rtx_builds_each(small, tmp_path, io, types):
    library = TENSORRT_RTX.library()
    log = make_log(library.trt)
    builder = library.trt.Builder(log)
    network = parse(library, builder, small.path, log).network
    step = change_io(library, network, io)
    assert (network.num_inputs, network.num_outputs) == (1, 1)
    assert (network.get_input(0).name, network.get_output(0).name) == ("x", "y")
    assert (network.get_input(0).dtype.name, network.get_output(0).dtype.name) == types
    assert (step == np.float32(0.02)) == (io == "int8")
    engine = TENSORRT_RTX.build(small, tmp_path / "small.engine", BuildConfig("sm86", io=io))
    assert engine.path.stat().st_size > 1000
    assert (engine.inputs[0].dtype, engine.outputs[0].dtype) == tuple(
        {"FLOAT": "float32", "HALF": "float16", "INT8": "int8"}[kind] for kind in types
    )


def test_unknown_types():
    with pytest.raises(InputError, match="invalid value for `io`: bf16"):
        parse_io("bf16")


def test_an_input_of_pixels_stays_where_scores_become_fp16() -> None:
    image = TensorSpec("image", (1, 8, 8, 3), "uint8")
    scores = TensorSpec("scores", (1, 4), "float32")
    (given,), (made,) = specs((image,), (scores,), "fp16", None)
    assert (given.dtype, made.dtype) == ("uint8", "float16")
