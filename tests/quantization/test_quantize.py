"""From an FP32 graph to an int8 graph that runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.errors import BadNetwork, BadWeights, InputError
from edgekit.graph.forms.cpu_int8 import to_cpu_int8
from edgekit.graph.io import load, save
from edgekit.quantization import GateNotMet, QuantizeConfig, QuantizeResult, Requirement, quantize
from edgekit.quantization.twin import fidelity
from tests.quantization.conftest import PLAIN, artifact_of, graph, logits, with_weights

ALL_INT8 = QuantizeConfig(fallback=False, sensitivity=False)


@pytest.fixture(scope="module")
def quantized(
    mobilenet: Artifact, photos: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory
) -> QuantizeResult:
    return quantize(mobilenet, tmp_path_factory.mktemp("int8") / "int8.onnx", ALL_INT8, photos[:36])


def test_it_is_close_to_the_float_network_on_other_photos(
    mobilenet: Artifact, quantized: QuantizeResult, photos: NDArray[np.float32]
) -> None:
    reached = fidelity(logits(mobilenet, photos[36:]), logits(quantized.artifact, photos[36:]))
    assert reached.sqnr > 15
    assert quantized.report.reached.sqnr == pytest.approx(quantized.report.all_int8.sqnr, abs=2)


def test_every_choice_helps_where_channels_differ(
    skewed: Artifact, photos: NDArray[np.float32], tmp_path: Path
) -> None:
    steps = (PLAIN, replace(PLAIN, equalize=True), ALL_INT8)
    naive, equalized, best = (
        quantize(skewed, tmp_path / f"{i}.onnx", config, photos[:48]).report.reached.sqnr
        for i, config in enumerate(steps)
    )
    assert equalized > naive + 2 and best > naive + 3


def test_the_graph_is_what_tensorrt_reads(mobilenet: Artifact, quantized: QuantizeResult) -> None:
    proto = onnx.load(quantized.artifact.path)
    onnx.checker.check_model(proto, full_check=True)
    constants = {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer
    }
    assert {array.dtype.name for array in constants.values()} <= {"float32", "int8", "int64"}
    producers = {name: node for node in proto.graph.node for name in node.output}
    layers = [node for node in proto.graph.node if node.op_type in ("Conv", "Gemm")]
    assert layers
    for node in layers:
        assert (
            producers[node.input[0]].op_type
            == producers[node.input[1]].op_type
            == "DequantizeLinear"
        )
        weight = producers[node.input[1]]
        assert constants[weight.input[0]].dtype == np.int8 and weight.attribute[0].i == 0
        assert len(constants[weight.input[1]]) == len(constants[weight.input[0]])
        assert len(node.input) < 3 or constants[node.input[2]].dtype == np.float32
    quantizers = [
        node for node in proto.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    ]
    zeros = [constants[node.input[2]] for node in quantizers]
    assert quantizers and all(z.dtype == np.int8 and not z.any() for z in zeros)
    assert quantized.artifact.parent == mobilenet.sha256


def test_the_same_inputs_give_the_same_bytes(
    mobilenet: Artifact, photos: NDArray[np.float32], tmp_path: Path
) -> None:
    config = replace(ALL_INT8, calibrator="mse", rounding="nearest", equalize=False)
    first, second = (
        quantize(mobilenet, tmp_path / f"{i}.onnx", config, photos[:12]).artifact.sha256
        for i in range(2)
    )
    assert first == second


def test_centred_grids_drop_the_activation_and_keep_the_numbers(
    mobilenet: Artifact, quantized: QuantizeResult, photos: NDArray[np.float32]
) -> None:
    before, after = (
        [node.op_type for node in load(a.path).graph] for a in (mobilenet, quantized.artifact)
    )
    assert after.count("Clip") + after.count("Relu") < before.count("Clip")


def test_the_cpu_dialect_computes_the_same_in_integers(
    quantized: QuantizeResult, photos: NDArray[np.float32], tmp_path: Path
) -> None:
    dialect = to_cpu_int8(quantized.artifact, tmp_path / "net.cpu.onnx")
    model = load(dialect.path)
    kinds = [node.op_type for node in model.graph]
    assert "Relu" not in kinds and "Gemm" not in kinds and "MatMulIntegerToFloat" in kinds
    expected, reached = logits(quantized.artifact, photos[36:]), logits(dialect, photos[36:])
    # roundings that fall on the other side of a tie spread through the layers behind them; more
    # than that would be an error of the rewriting
    assert fidelity(expected, reached).sqnr > quantized.report.reached.sqnr


@pytest.mark.parametrize(
    ("last", "then"),
    [("Softmax", None), ("LogSoftmax", None), ("Softmax", "Flatten"), ("Sigmoid", None)],
)
def test_agreement_is_that_of_the_logits(
    last: str, then: str | None, mobilenet: Artifact, photos: NDArray[np.float32], tmp_path: Path
) -> None:
    """Errors of shares say nothing of margins: with a Softmax or Sigmoid behind it, the same
    network is quantized as without.
    """
    model = load(mobilenet.path)
    for op_type in filter(None, (last, then)):
        axis = {} if op_type == "Sigmoid" else {"axis": 1}
        node = ir.node(op_type, [model.graph.outputs[0]], axis, name=f"scores/{op_type}")
        scores, read = node.outputs[0], model.graph.outputs[0]
        scores.name, scores.type, scores.shape = node.name, read.type, read.shape
        model.graph.append(node)
        model.graph.outputs[0] = scores
    shares = save(model, tmp_path / "shares.onnx", "fp32")
    config = QuantizeConfig("mse", "nearest", gate=Requirement(0.5))
    plain, behind = (
        quantize(a, tmp_path / f"{i}.onnx", config, photos[:24])
        for i, a in enumerate((mobilenet, shares))
    )
    assert (
        behind.report.reached == plain.report.reached
        and behind.report.all_int8 == plain.report.all_int8
    )
    codes = [
        {
            name: value.const_value.numpy()
            for name, value in load(r.artifact.path).graph.initializers.items()
        }
        for r in (plain, behind)
    ]  # type: ignore[union-attr]
    assert codes[0].keys() == codes[1].keys() and all(
        np.array_equal(codes[0][name], codes[1][name]) for name in codes[0]
    )


def test_the_gate_takes_layers_back_to_float_and_names_them(
    mobilenet: Artifact, photos: NDArray[np.float32], tmp_path: Path
) -> None:
    plain = QuantizeConfig("max", "nearest", equalize=False, centre=False, fallback=False)
    before = quantize(mobilenet, tmp_path / "plain.onnx", plain, photos[:24]).report.reached.sqnr
    config = replace(
        plain,
        fallback=True,
        gate=Requirement(0.5, sqnr=before + 1),
        macs_limit=1.0,
        weights_limit=1.0,
    )
    result = quantize(mobilenet, tmp_path / "mixed.onnx", config, photos[:24])
    kept = result.report.fallback.kept
    assert kept and result.report.reached.sqnr >= before + 1
    model = load(result.artifact.path)
    nodes = {node.name: node for node in model.graph}
    for layer in kept:
        weight = nodes[layer.layer].inputs[1]
        assert weight is not None and weight.producer() is None
    assert {row.layer for row in result.report.sensitivity.layers} >= {k.layer for k in kept}  # type: ignore[union-attr]


def test_a_gate_that_cannot_be_met_says_what_was_reached(
    mobilenet: Artifact, photos: NDArray[np.float32], tmp_path: Path
) -> None:
    config = QuantizeConfig(
        "max", "nearest", equalize=False, gate=Requirement(0.95, sqnr=90), macs_limit=0.01
    )
    with pytest.raises(GateNotMet, match="reached") as caught:
        quantize(mobilenet, tmp_path / "net.onnx", config, photos[:12])
    assert caught.value.exit_code == 1 and caught.value.result.artifact.path.is_file()


def test_too_few_or_identical_images_are_refused(
    mobilenet: Artifact, photos: NDArray[np.float32], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="7 calibration images are too few"):
        quantize(mobilenet, tmp_path / "net.onnx", ALL_INT8, photos[:7])
    with pytest.raises(InputError, match="identical"):
        quantize(mobilenet, tmp_path / "net.onnx", ALL_INT8, np.repeat(photos[:1], 10, axis=0))


def test_a_quantized_graph_is_not_quantized_again(
    quantized: QuantizeResult, photos: NDArray[np.float32], tmp_path: Path
) -> None:
    with pytest.raises(BadNetwork, match="already quantized"):
        quantize(quantized.artifact, tmp_path / "net.onnx", ALL_INT8, photos)


def test_nan_weights_and_dynamic_sizes_are_refused(
    mobilenet: Artifact, photos: NDArray[np.float32], tmp_path: Path
) -> None:
    model = load(mobilenet.path)
    name = next(name for name, value in model.graph.initializers.items() if name.endswith("weight"))
    broken = np.array(model.graph.initializers[name].const_value.numpy())  # type: ignore[union-attr]
    broken.flat[0] = np.nan
    model.graph.initializers[name].const_value = ir.tensor(broken, name=name)
    with pytest.raises(BadWeights, match="NaN"):
        quantize(
            save(model, tmp_path / "nan.onnx", "fp32"), tmp_path / "net.onnx", ALL_INT8, photos
        )
    model = load(mobilenet.path)
    model.graph.inputs[0].shape = ir.Shape([1, 3, "height", "width"])
    with pytest.raises(BadNetwork, match="fixed image size"):
        quantize(
            save(model, tmp_path / "dynamic.onnx", "fp32"), tmp_path / "net.onnx", ALL_INT8, photos
        )


def test_an_unknown_operator_still_quantizes(tmp_path: Path) -> None:
    text = (
        "(float[1,16,8,8] x, float[16,16,1,1] v, float[16,16] w) => (float[1,16] y) "
        "{ a = Conv(x, v) b = Atan(a) p = GlobalAveragePool(b) f = Flatten(p) y = MatMul(f, w) }"
    )
    artifact = artifact_of(
        with_weights(graph(text), v=(16, 16, 1, 1), w=(16, 16)), tmp_path / "fp32.onnx"
    )
    images = np.random.default_rng(0).standard_normal((16, 16, 8, 8)).astype(np.float32)
    result = quantize(artifact, tmp_path / "int8.onnx", ALL_INT8, images)
    assert result.report.unknown_operators == ("Atan",) and result.report.reached.sqnr > 25


@pytest.mark.parametrize("capability", ["SM80", "SM86", "SM89", "SM120"])
def test_tensorrt_rtx_builds_it(quantized: QuantizeResult, capability: str) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(quantized.artifact.path)), [
        parser.get_error(i).desc() for i in range(parser.num_errors)
    ]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, capability), 0)
    assert builder.build_serialized_network(network, config) is not None


def test_a_static_batch_is_quantized_and_runs(photos: NDArray[np.float32], tmp_path: Path) -> None:
    text = (
        "(float[4,16,8,8] x, float[16,16,1,1] v, float[16,256] w) => (float[4,16] y) <int64[2] s = "
        "{4,256}> "
        "{ a = Conv(x, v) b = Relu(a) p = AveragePool<kernel_shape=[2,2], strides=[2,2]>(b) f = "
        "Reshape(p, s) y = Gemm<transB=1>(f, w) }"
    )
    artifact = artifact_of(
        with_weights(graph(text), v=(16, 16, 1, 1), w=(16, 256)), tmp_path / "fp32.onnx"
    )
    images = np.random.default_rng(0).standard_normal((16, 16, 8, 8)).astype(np.float32)
    assert quantize(artifact, tmp_path / "int8.onnx", ALL_INT8, images).report.reached.sqnr > 25


def test_layers_that_share_a_weight_are_rounded_each_for_itself(tmp_path: Path) -> None:
    """onnxsim and others keep equal tensors once."""
    model = graph(
        "(float[1,16,8,8] x, float[16,16,3,3] w, float[16] b) => (float[1,16] y) "
        "{ a = Conv(x, w, b) r = Relu(a) c = Conv(r, w, b) p = GlobalAveragePool(c) y = Flatten(p) }"
    )
    artifact = artifact_of(with_weights(model, w=(16, 16, 3, 3), b=(16,)), tmp_path / "shared.onnx")
    images = np.random.default_rng(0).standard_normal((16, 16, 8, 8)).astype(np.float32)
    result = quantize(artifact, tmp_path / "int8.onnx", ALL_INT8, images)
    written = load(result.artifact.path).graph
    assert (
        len([t for t in written.initializers.values() if t.shape is not None and len(t.shape) == 4])
        == 2
    )
    # which the source left to the weights to tell, and TensorRT 8 does not read there
    assert [
        list(node.attributes["kernel_shape"].as_ints())
        for node in written
        if node.op_type == "Conv"
    ] == [[3, 3], [3, 3]]
    assert fidelity(logits(artifact, images), logits(result.artifact, images)).sqnr > 25


def test_a_channel_that_is_all_but_dead_keeps_its_layer_in_integers(tmp_path: Path) -> None:
    """Its scale is so small that its bias, written in steps of it, would not fit 32 bits."""
    model = with_weights(
        graph(
            "(float[1,16,8,8] x, float[16,16,3,3] w, float[16] b, float[16,16,3,3] v) => "
            "(float[1,16] y) "
            "{ a = Conv(x, w, b) r = Relu(a) c = Conv(r, v) p = GlobalAveragePool(c) y = "
            "Flatten(p) }"
        ),
        w=(16, 16, 3, 3),
        b=(16,),
        v=(16, 16, 3, 3),
    )
    weight, bias = (
        np.array(model.graph.initializers[name].const_value.numpy()) for name in ("w", "b")
    )  # type: ignore[union-attr]
    weight[3], bias[3] = weight[3] * 1e-9, 1.0
    for name, array in (("w", weight), ("b", bias)):
        model.graph.initializers[name].const_value = ir.tensor(array, name=name)
    artifact = artifact_of(model, tmp_path / "fp32.onnx")
    images = np.random.default_rng(0).standard_normal((16, 16, 8, 8)).astype(np.float32)
    result = quantize(
        artifact, tmp_path / "int8.onnx", replace(ALL_INT8, rounding="nearest"), images
    )
    cpu = to_cpu_int8(result.artifact, tmp_path / "cpu.onnx")
    biases = {
        node.inputs[2].producer().op_type for node in load(cpu.path).graph if node.op_type == "Conv"
    }  # type: ignore[union-attr]
    assert biases == {"DequantizeLinear"}
    assert fidelity(logits(artifact, images), logits(cpu, images)).sqnr > 25
