"""Typed FP16 graphs: valid, typed in every tensor, close to the FP32 graph, and FP32 if FP16 would
overflow or underflow.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgekit.errors import BadNetwork
from edgekit.graph.io import load
from edgekit.runtimes.tensorrt import TENSORRT_RTX, BuildConfig


def reasons(result):
    return {node.name: node.reason for node in result.kept}


# ---- operators

OPERATORS = {
    "conv": (("Conv x w y",), {"w": (4, 3, 3, 3)}, {}),
    "concat": (("Relu x a", "Neg x b", "Concat a b y"), {}, {"Concat": {"axis": 1}}),
    "split": (("Relu x h", "Split h a b c", "Sub a b d", "Mul d c y"), {}, {"Split": {"axis": 1}}),
    "clip with one bound": (("Clip x - high y",), {"high": 0.5}, {}),
    "clip with the other": (("Clip x low y",), {"low": -0.5}, {}),
    "pad": (("Pad x p fill y",), {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "fill": 0.25}, {}),
    "resize": (
        ("Resize x - scales y",),
        {"scales": np.array([1, 1, 2, 2], np.float32)},
        {"Resize": {"mode": "linear"}},
    ),
    "global pooling": (
        ("GlobalAveragePool x p", "Flatten p f", "Gemm f w b y"),
        {"w": (3, 5), "b": (5,)},
        {},
    ),
    "matrix product": (("MatMul x w h", "Add h b y"), {"w": (8, 5), "b": (5,)}, {}),
    "lrn": (("LRN x y",), {}, {"LRN": {"size": 3}}),
    "where": (("Greater x zero c", "Where c x zero y"), {"zero": 0.0}, {}),
    "max pooling": (("MaxPool x y",), {}, {"MaxPool": {"kernel_shape": [2, 2]}}),
    "normalisation": (
        ("BatchNormalization x g b b g y",),
        {"g": np.array([1, 2, 3], np.float32), "b": (3,)},
        {},
    ),
    "prelu": (("PRelu x s y",), {"s": (3, 1, 1)}, {}),
    "h-swish": (("HardSwish x y",), {}, {}),
    "slice and transpose": (
        ("Slice x i j h", "Transpose h y"),
        {"i": np.array([0, 1, 2, 0]), "j": np.array([2, 3, 8, 5])},
        {},
    ),
}


@pytest.fixture
def operator(make, op, noise):
    def build(name, opset, batch=2):
        lines, constants, attributes = OPERATORS[name]
        nodes = []
        for line in lines:
            kind, *rest = line.split()
            outputs = 3 if kind == "Split" else 1
            extra = dict(attributes.get(kind, {}))
            if kind == "Split" and opset >= 18:
                extra["num_outputs"] = 3
            nodes.append(op(kind, " ".join(rest[:-outputs]), " ".join(rest[-outputs:]), **extra))
        arrays = {
            k: noise(*v) if isinstance(v, tuple) else np.float32(v) if isinstance(v, float) else v
            for k, v in constants.items()
        }
        return make(*nodes, constants=arrays, x=(batch, 3, 8, 8), opset=opset)

    return build


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(("opset", "keep_io"), [(17, True), (17, False), (18, True)])
def test_operators_become_fp16(operator, half, close, noise, name, opset, keep_io, floats):
    graph = operator(name, opset)
    result = half(graph, keep_io=keep_io)
    assert result.kept == ()
    assert floats(result.artifact) in ([], ["scales"])
    assert {result.artifact.inputs[0].dtype, result.artifact.outputs[0].dtype} == {
        "float32" if keep_io else "float16"
    }
    close(graph, result, noise(2, 3, 8, 8, seed=9))


@pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None,
    reason="tensorrt_rtx is not installed: pip install 'edgekit[rtx]'",
)
@pytest.mark.parametrize("name", OPERATORS)
def test_tensorrt_builds_the_fp16_graph_as_it_is_typed(operator, half, tmp_path, name):
    result = half(operator(name, 17), keep_io=False)
    engine = TENSORRT_RTX.build(result.artifact, tmp_path / "plan.engine", BuildConfig("sm86"))
    assert engine.path.stat().st_size > 0


def test_a_dynamic_batch_stays_dynamic(operator, half, close, noise):
    result = half(operator("global pooling", 17, batch="n"))
    assert result.artifact.inputs[0].shape == ("n", 3, 8, 8)
    close(operator("global pooling", 17, batch="n"), result, noise(5, 3, 8, 8))


def test_only_one_cast_in_and_one_out(make, op, half, noise):
    constants = {"w": noise(3, 3, 1, 1), "u": noise(3, 3, 1, 1, seed=1)}
    nodes = (
        op("Conv", "x w", "a"),
        op("Conv", "x u", "b"),
        op("Add", "a b", "c"),
        op("Mul", "c a", "y"),
    )
    kinds = [
        node.op_type for node in load(half(make(*nodes, constants=constants)).artifact.path).graph
    ]
    assert kinds == ["Cast", "Conv", "Conv", "Add", "Mul", "Cast"]


def test_integers_and_booleans_keep_their_types(make, op, half, close, noise, floats):
    nodes = (
        op("Shape", "x", "s"),
        op("Gather", "s zero", "n", axis=0),
        op("Concat", "n rest", "t", axis=0),
        op("Reshape", "x t", "r"),
        op("Greater", "r half", "g"),
        op("Cast", "g", "f", to=TensorProto.FLOAT),
        op("Mul", "r f", "y"),
    )
    constants = {"zero": np.array([0]), "rest": np.array([-1]), "half": np.float32(0.5)}
    graph = make(*nodes, constants=constants, x=("n", 3, 4, 4))
    result = half(graph)
    types = {v.name: v.dtype for n in load(result.artifact.path).graph for v in n.outputs}
    assert (types["s"], types["g"], types["f"]) == (
        ir.DataType.INT64,
        ir.DataType.BOOL,
        ir.DataType.FLOAT16,
    )
    assert floats(result.artifact) == []
    # x is kept away from 0.5, where rounding it decides
    x = noise(2, 3, 4, 4)
    close(graph, result, np.where(np.abs(x - 0.5) < 0.01, 1.0, x).astype(np.float32))


def test_constant_nodes_and_a_constant_of_some_shape(make, op, half, close, noise):
    two = op("Constant", "", "c", value=helper.make_tensor("two", TensorProto.FLOAT, [], [2.0]))
    ones = op(
        "ConstantOfShape", "s", "o", value=helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    )
    graph = make(
        two, op("Shape", "x", "s"), ones, op("Mul", "x c", "m"), op("Add", "m o", "y"), x=("n", 3)
    )
    result = half(graph)
    assert reasons(result) == {"o": "the operator has no FP16 form"}
    close(graph, result, noise(2, 3))


@pytest.mark.parametrize("transposed", [0, 1])
def test_layers_keep_their_means(make, op, half, noise, transposed):
    constants = {"w": noise(6, 20, seed=1) if transposed else noise(20, 6, seed=1), "b": noise(6)}
    images = np.abs(noise(16, 20)) + 0.5
    graph = make(op("Gemm", "x w b", "y", transB=transposed), constants=constants, x=("n", 20))
    initializers = load(half(graph, images).artifact.path).graph.initializers
    weight, bias = (initializers[f"{n}|fp16"].const_value.numpy().astype(np.float64) for n in "wb")
    exact = constants["w"].astype(np.float64)

    def shift(w, b):
        w, e = (w.T, exact.T) if transposed else (w, exact)
        return np.abs(images.mean(axis=0) @ (w - e) + (b - constants["b"]))

    assert (
        shift(weight, bias).sum()
        < shift(exact.astype(np.float16), constants["b"].astype(np.float16)).sum() / 3
    )


@pytest.mark.parametrize("attributes", [{"alpha": 2.0}, {"beta": 0.5}])
def test_scaled_layers_are_rounded_plainly(make, op, half, noise, attributes):
    weight = noise(20, 6)
    graph = make(
        op("Gemm", "x w b", "y", **attributes), constants={"w": weight, "b": noise(6)}, x=("n", 20)
    )
    rounded = (
        load(half(graph, noise(4, 20) + 2).artifact.path)
        .graph.initializers["w|fp16"]
        .const_value.numpy()
    )
    np.testing.assert_array_equal(rounded, weight.astype(np.float16))


def test_weights_that_two_layers_share_are_rounded_once_and_plainly(make, op, half, close, noise):
    weight = noise(3, 3, 3, 3)
    nodes = (
        op("Conv", "x w", "a", pads=[1, 1, 1, 1]),
        op("Relu", "a", "b"),
        op("Conv", "b w", "y"),
    )
    graph = make(*nodes, constants={"w": weight})
    result = half(graph)
    initializers = load(result.artifact.path).graph.initializers
    assert list(initializers) == ["w|fp16"]
    np.testing.assert_array_equal(
        initializers["w|fp16"].const_value.numpy(), weight.astype(np.float16)
    )
    close(graph, result, noise(1, 3, 8, 8))


def test_grouped_and_depthwise_means_are_those_of_their_own_channels(make, op, half, noise):
    images = np.abs(noise(8, 6, 5, 5)) * np.array([1, -6, 0.1, -5, 8, 3], np.float32)[:, None, None]
    for groups in (2, 3, 6):
        weight = noise(12, 6 // groups, 3, 3, seed=groups)
        graph = make(
            op("Conv", "x w", "y", group=groups), constants={"w": weight}, x=("n", 6, 5, 5)
        )
        rounded = (
            load(half(graph, images).artifact.path)
            .graph.initializers["w|fp16"]
            .const_value.numpy()
            .astype(np.float64)
        )
        means = (
            images.mean(axis=(0, 2, 3))
            .reshape(groups, 1, -1)
            .repeat(12 // groups, axis=1)
            .reshape(12, -1, 1, 1)
        )
        shift, plain = (
            np.abs(((w - weight) * means).sum(axis=(1, 2, 3))).sum()
            for w in (rounded, weight.astype(np.float16))
        )
        assert shift < plain / 2


def test_nodes_are_kept_on_request_and_unknown_ones_refused(operator, half, floats):
    graph = operator("global pooling", 17)
    result = half(graph, keep=("y",))
    assert reasons(result) == {"y": "requested"} and {"w", "b"} <= set(floats(result.artifact))
    with pytest.raises(BadNetwork, match="no node is called nobody"):
        half(graph, keep=("nobody",))
