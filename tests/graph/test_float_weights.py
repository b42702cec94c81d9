"""The INT8 form with float weights before quantizers: the codes are reproduced exactly, and nothing
else changes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgekit.artifact import Artifact, sha256_of
from edgekit.graph.forms.float_weights import write_float_weights

CODES = np.arange(-128, 128, dtype=np.int8)
TINY, SMALLEST = np.finfo(np.float32).tiny, np.finfo(np.float32).smallest_subnormal
AWKWARD = (
    *np.float32(2.0) ** np.arange(-100, 101, 25, dtype=np.float32),
    *(np.float32(1) / np.arange(3, 129, 2, dtype=np.float32)),  # no finite fractions in binary
    *(
        np.nextafter(np.float32(n), np.float32(side))
        for n in (1, 2, 1 / 127, 1e-3)
        for side in (0, 9)
    ),
    *(np.float32(1e36), TINY, np.nextafter(TINY, np.float32(0)), 3 * SMALLEST, SMALLEST),
)
RANDOM = np.exp(np.random.default_rng(0).uniform(np.log(1e-12), np.log(1e12), 20_000)).astype(
    np.float32
)


def network(
    path: Path, codes: NDArray[np.int8], scales: NDArray[np.float32], axis: int
) -> Artifact:
    """A product with a quantized weight whose outputs lie along ``axis``, and a float one of the
    same shape that must stay as it is.
    """
    transposed = int(axis == 0)
    constants = {
        "w/int8": codes,
        "w/scale": scales,
        "w/zero_point": np.zeros(scales.shape, np.int8),
        "v": codes.astype(np.float32),
    }
    constants |= {"s": np.float32(0.1), "z": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["x/q"], "x/QuantizeLinear"),
        helper.make_node("DequantizeLinear", ["x/q", "s", "z"], ["x/d"], "x/DequantizeLinear"),
        helper.make_node(
            "DequantizeLinear",
            ["w/int8", "w/scale", "w/zero_point"],
            ["w/d"],
            "w/DequantizeLinear",
            axis=axis,
        ),
        helper.make_node("Gemm", ["x/d", "w/d"], ["m"], "m/Gemm", transB=transposed),
        helper.make_node("Gemm", ["x", "v"], ["n"], "n/Gemm", transB=transposed),
        helper.make_node("Add", ["m", "n"], ["y"], "y/Add"),
    ]
    sizes = {"x": codes.shape[1 - axis], "y": codes.shape[axis]}
    given, made = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, size))
        for name, size in sizes.items()
    )
    graph = helper.make_graph(
        nodes,
        "net",
        [given],
        [made],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return Artifact(path, "onnx", "int8", (), (), sha256_of(path))


def written(
    tmp_path: Path, codes: NDArray[np.int8], scales: NDArray[np.float32], axis: int
) -> tuple[Artifact, onnx.ModelProto]:
    artifact = write_float_weights(
        network(tmp_path / "codes.onnx", codes, scales, axis), tmp_path / "float.onnx"
    )
    model = onnx.load(artifact.path)
    onnx.checker.check_model(model, full_check=True)
    return artifact, model


def made_by_quantizer(model: onnx.ModelProto) -> NDArray[np.int8]:
    """What ONNX Runtime's QuantizeLinear makes of the weight."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    tapped.graph.output.append(
        helper.make_tensor_value_info("w/QuantizeLinear", TensorProto.INT8, None)
    )
    session = onnxruntime.InferenceSession(
        tapped.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    (codes,) = session.run(["w/QuantizeLinear"], {"x": np.zeros(shape, np.float32)})
    return np.asarray(codes)


@pytest.mark.parametrize(
    "scales", [np.array(AWKWARD, np.float32), RANDOM], ids=["awkward", "random"]
)
def test_every_code_comes_back_under_every_scale(
    scales: NDArray[np.float32], tmp_path: Path
) -> None:
    codes = np.repeat(CODES[:, None], len(scales), axis=1)
    _, model = written(tmp_path, codes, scales, axis=1)
    weight = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "w")
    assert weight.dtype == np.float32 and np.isfinite(weight).all()
    assert (np.rint(weight / scales) == codes).all()
    assert (made_by_quantizer(model) == codes).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_weight_is_fp32_quantizer_dequantizer_with_zero_points_of_the_scale_s_shape(
    axis: int, tmp_path: Path
) -> None:
    codes = np.random.default_rng(0).integers(-127, 128, (6, 4)).astype(np.int8)
    scales = np.linspace(0.01, 0.3, codes.shape[axis], dtype=np.float32)
    artifact, model = written(tmp_path, codes, scales, axis)
    assert (
        artifact.precision == "int8"
        and model.opset_import[0].version == 17
        and model.ir_version == 8
    )
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}
    quantize, dequantize = nodes["w/QuantizeLinear"], nodes["w/DequantizeLinear"]
    assert dequantize.input[0] == quantize.output[0]
    assert list(quantize.input[1:]) == list(dequantize.input[1:]) == ["w/scale", "w/zero_point"]
    assert [helper.get_node_attr_value(node, "axis") for node in (quantize, dequantize)] == [
        axis,
        axis,
    ]
    np.testing.assert_array_equal(constants["w/zero_point"], np.zeros(codes.shape[axis], np.int8))
    assert {name for name, array in constants.items() if array.dtype == np.int8} == {
        "w/zero_point",
        "z",
    }
    np.testing.assert_array_equal(constants["v"], codes.astype(np.float32))
    assert (made_by_quantizer(model) == codes).all()
    x = np.random.default_rng(1).standard_normal((1, codes.shape[1 - axis])).astype(np.float32)
    before, after = (
        onnxruntime.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"]).run(
            None, {"x": x}
        )[0]
        for name in ("codes.onnx", "float.onnx")
    )
    np.testing.assert_array_equal(before, after)


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(-127, 128, (6, 4)).astype(np.int8)
    source = network(tmp_path / "codes.onnx", codes, np.full(4, 0.1, np.float32), 1)
    first, second = (write_float_weights(source, tmp_path / name) for name in ("a.onnx", "b.onnx"))
    assert first.sha256 == second.sha256 and first.parent == source.sha256
