"""Typed FP16 graphs: valid, typed to the last tensor, close to the FP32 graph, and FP32 where half precision would overflow or flush."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgekit.errors import BadNetwork
from edgekit.graph.half import HalfConfig, halve, rounding_twin
from edgekit.graph.io import load
from edgekit.graph.observe import observe
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime


@pytest.fixture
def half(noise):
    """Halves a graph on images, checks it as strictly as onnx can, and returns the result."""

    def convert(artifact, images=None, *, keep=(), keep_io=True):
        images = noise(*(2 if isinstance(d, str) else d for d in artifact.inputs[0].shape)) if images is None else images
        result = halve(artifact, artifact.path.with_suffix(".half.onnx"), HalfConfig(keep_io, keep), observe(artifact, images))
        onnx.checker.check_model(str(result.artifact.path), full_check=True)
        return result

    return convert


@pytest.fixture
def twin():
    def write(result):
        written = rounding_twin(result.artifact, result.artifact.path.with_suffix(".twin.onnx"))
        onnx.checker.check_model(str(written.path), full_check=True)
        assert (written.inputs, written.outputs) == (result.artifact.inputs, result.artifact.outputs)
        return written

    return write


@pytest.fixture
def close(run, twin):
    """Compares the FP16 graph, in ONNX Runtime, and its twin with the FP32 graph."""

    def compare(artifact, result, x, rtol=2e-3):
        expected = run(artifact, x)
        given = x if result.artifact.inputs[0].dtype == "float32" else x.astype(np.float16)
        scale = np.abs(expected).max()
        for graph in (result.artifact, twin(result)):
            np.testing.assert_allclose(run(graph, given).astype(np.float32), expected, atol=rtol * scale)

    return compare


def floats(artifact):
    """The FP32 values between the graph's inputs and outputs, weights among them."""
    graph = load(artifact.path).graph
    made = (v for n in graph for v in n.outputs if not v.is_graph_output())
    return sorted(str(v.name) for v in (*made, *graph.initializers.values()) if v.dtype == ir.DataType.FLOAT)


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
    "resize": (("Resize x - scales y",), {"scales": np.array([1, 1, 2, 2], np.float32)}, {"Resize": {"mode": "linear"}}),
    "global pooling": (("GlobalAveragePool x p", "Flatten p f", "Gemm f w b y"), {"w": (3, 5), "b": (5,)}, {}),
    "matrix product": (("MatMul x w h", "Add h b y"), {"w": (8, 5), "b": (5,)}, {}),
    "lrn": (("LRN x y",), {}, {"LRN": {"size": 3}}),
    "where": (("Greater x zero c", "Where c x zero y"), {"zero": 0.0}, {}),
    "max pooling": (("MaxPool x y",), {}, {"MaxPool": {"kernel_shape": [2, 2]}}),
    "normalisation": (("BatchNormalization x g b b g y",), {"g": np.array([1, 2, 3], np.float32), "b": (3,)}, {}),
    "prelu": (("PRelu x s y",), {"s": (3, 1, 1)}, {}),
    "h-swish": (("HardSwish x y",), {}, {}),
    "slice and transpose": (("Slice x i j y",), {"i": np.array([0, 1]), "j": np.array([1, 3])}, {}),
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
        arrays = {k: noise(*v) if isinstance(v, tuple) else np.float32(v) if isinstance(v, float) else v for k, v in constants.items()}
        return make(*nodes, constants=arrays, x=(batch, 3, 8, 8), opset=opset)

    return build


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(("opset", "keep_io"), [(17, True), (17, False), (18, True)])
def test_operators_become_fp16(operator, half, close, noise, name, opset, keep_io):
    graph = operator(name, opset)
    result = half(graph, keep_io=keep_io)
    assert result.kept == ()
    assert floats(result.artifact) in ([], ["scales"])
    assert {result.artifact.inputs[0].dtype, result.artifact.outputs[0].dtype} == {"float32" if keep_io else "float16"}
    close(graph, result, noise(2, 3, 8, 8, seed=9))


def test_a_dynamic_batch_stays_dynamic(operator, half, close, noise):
    result = half(operator("global pooling", 17, batch="n"))
    assert result.artifact.inputs[0].shape == ("n", 3, 8, 8)
    close(operator("global pooling", 17, batch="n"), result, noise(5, 3, 8, 8))


def test_only_one_cast_in_and_one_out(make, op, half, noise):
    constants = {"w": noise(3, 3, 1, 1), "u": noise(3, 3, 1, 1, seed=1)}
    nodes = (op("Conv", "x w", "a"), op("Conv", "x u", "b"), op("Add", "a b", "c"), op("Mul", "c a", "y"))
    kinds = [node.op_type for node in load(half(make(*nodes, constants=constants)).artifact.path).graph]
    assert kinds == ["Cast", "Conv", "Conv", "Add", "Mul", "Cast"]


def test_integers_and_booleans_keep_their_types(make, op, half, close, noise):
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
    assert (types["s"], types["g"], types["f"]) == (ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.FLOAT16)
    assert floats(result.artifact) == []
    # x is kept away from 0.5, where rounding it decides
    x = noise(2, 3, 4, 4)
    close(graph, result, np.where(np.abs(x - 0.5) < 0.01, 1.0, x).astype(np.float32))


def test_constant_nodes_and_a_constant_of_some_shape(make, op, half, close, noise):
    two = op("Constant", "", "c", value=helper.make_tensor("two", TensorProto.FLOAT, [], [2.0]))
    ones = op("ConstantOfShape", "s", "o", value=helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]))
    graph = make(two, op("Shape", "x", "s"), ones, op("Mul", "x c", "m"), op("Add", "m o", "y"), x=("n", 3))
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

    assert shift(weight, bias).sum() < shift(exact.astype(np.float16), constants["b"].astype(np.float16)).sum() / 3


@pytest.mark.parametrize("attributes", [{"alpha": 2.0}, {"beta": 0.5}])
def test_scaled_layers_are_rounded_plainly(make, op, half, noise, attributes):
    weight = noise(20, 6)
    graph = make(op("Gemm", "x w b", "y", **attributes), constants={"w": weight, "b": noise(6)}, x=("n", 20))
    rounded = load(half(graph, noise(4, 20) + 2).artifact.path).graph.initializers["w|fp16"].const_value.numpy()
    np.testing.assert_array_equal(rounded, weight.astype(np.float16))


def test_weights_that_two_layers_share_are_rounded_once_and_plainly(make, op, half, close, noise):
    weight = noise(3, 3, 3, 3)
    nodes = (op("Conv", "x w", "a", pads=[1, 1, 1, 1]), op("Relu", "a", "b"), op("Conv", "b w", "y"))
    graph = make(*nodes, constants={"w": weight})
    result = half(graph)
    initializers = load(result.artifact.path).graph.initializers
    assert list(initializers) == ["w|fp16"]
    np.testing.assert_array_equal(initializers["w|fp16"].const_value.numpy(), weight.astype(np.float16))
    close(graph, result, noise(1, 3, 8, 8))


def test_grouped_and_depthwise_means_are_those_of_their_own_channels(make, op, half, noise):
    images = np.abs(noise(8, 6, 5, 5)) * np.arange(1, 7, dtype=np.float32)[:, None, None]
    for groups in (2, 3, 6):
        weight = noise(12, 6 // groups, 3, 3, seed=groups)
        graph = make(op("Conv", "x w", "y", group=groups), constants={"w": weight}, x=("n", 6, 5, 5))
        rounded = load(half(graph, images).artifact.path).graph.initializers["w|fp16"].const_value.numpy().astype(np.float64)
        means = images.mean(axis=(0, 2, 3)).reshape(groups, 1, -1).repeat(12 // groups, axis=1).reshape(12, -1, 1, 1)
        shift, plain = (np.abs(((w - weight) * means).sum(axis=(1, 2, 3))).sum() for w in (rounded, weight.astype(np.float16)))
        assert shift < plain / 2


# ---- islands


def test_activations_that_would_overflow_stay_fp32(make, op, half, close, noise, run):
    constants = {"big": np.float32(1e5), "small": np.float32(1e-2), "w": noise(3, 3, 1, 1)}
    nodes = (op("Conv", "x w", "a"), op("Mul", "a big", "b"), op("Relu", "b", "c"), op("Mul", "c small", "d"), op("Mul", "d small", "y"))
    graph = make(*nodes, constants=constants)
    result = half(graph)
    assert set(reasons(result)) == {"b", "c", "d"}
    assert "overflows" in reasons(result)["b"] and "near FP16's limit of 65504" in reasons(result)["c"]
    assert {"b", "c"} <= set(floats(result.artifact)) and "a" not in floats(result.artifact)
    close(graph, result, noise(1, 3, 8, 8, seed=4))


def test_the_twin_shows_the_overflow_that_onnx_runtime_hides(make, op, half, twin, run, noise, tmp_path):
    constants = {"w": 300 * np.ones((3, 3, 1, 1), np.float32), "small": np.float32(1e-2)}
    nodes = (op("Conv", "x w", "a"), op("Conv", "a w", "b"), op("Mul", "b small", "c"), op("Mul", "c small", "y"))
    graph = make(*nodes, constants=constants)
    images = np.abs(noise(1, 3, 8, 8)) + 0.5
    assert run(graph, images).max() > 50  # b reaches 1e5 and more
    bare = halve(graph, tmp_path / "bare.onnx", HalfConfig(), observe(graph, images / 100))  # images too dim to see it
    assert bare.kept == ()
    assert np.isfinite(run(bare.artifact, images)).all()
    assert np.isinf(run(twin(bare), images)).any()
    island = half(graph, images)
    assert [node.name for node in island.kept] == ["b", "c"]
    np.testing.assert_allclose(run(twin(island), images), run(graph, images), rtol=2e-3)


def test_headroom_is_kept(make, op, half):
    graph = make(op("Relu", "x", "h"), op("Neg", "h", "y"), x=(1, 4))
    assert half(graph, np.array([[1, 2, 3, 16375]], np.float32)).kept == ()
    assert set(reasons(half(graph, np.array([[1, 2, 3, 16377]], np.float32)))) == {"h", "y"}


def test_values_below_the_normal_numbers_stay_fp32(make, op, half, close, noise):
    graph = make(
        op("Mul", "x tiny", "a"), op("Mul", "a huge", "y"), constants={"tiny": np.float32(1e-4), "huge": np.float32(1e4)}, x=(1, 4)
    )
    dim = np.array([[1e-2, 2e-2, -3e-2, 4e-2]], np.float32)
    result = half(graph, dim)
    assert "below FP16's normal numbers" in reasons(result)["a"] and set(reasons(result)) == {"a", "y"}
    close(graph, result, dim)


def test_sums_of_a_global_pooling_stay_in_range(make, op, half):
    graph = make(op("Relu", "x", "h"), op("GlobalAveragePool", "h", "y"), x=(1, 2, 64, 64))
    assert half(graph, np.full((1, 2, 64, 64), 3.9, np.float32)).kept == ()
    (kept,) = half(graph, np.full((1, 2, 64, 64), 4.1, np.float32)).kept
    assert kept.op_type == "GlobalAveragePool" and "the sum over h reaches 1.68e+04" in kept.reason


def test_squares_of_a_response_norm_stay_in_range(make, op, half):
    graph = make(op("Relu", "x", "h"), op("LRN", "h", "y", size=5), x=(1, 6, 2, 2))
    assert half(graph, np.full((1, 6, 2, 2), 57.0, np.float32)).kept == ()
    (kept,) = half(graph, np.full((1, 6, 2, 2), 58.0, np.float32)).kept
    assert kept.name == "y" and "the squares of h add up to 1.68e+04" in kept.reason


def test_weights_that_overflow_or_flush_stay_fp32(make, op, half, close, noise):
    nodes = (op("Conv", "x w", "h"), op("Conv", "h u", "y"))
    large = make(*nodes, constants={"w": noise(3, 3, 1, 1), "u": np.full((3, 3, 1, 1), 7e4, np.float32)})
    assert "weight 7e+04 overflows" in reasons(half(large))["y"]
    small = make(*nodes, constants={"w": noise(3, 3, 1, 1) * np.float32(1e-6), "u": noise(3, 3, 1, 1) * np.float32(1e6)})
    result = half(small)
    assert "flush" in reasons(result)["h"]
    close(small, result, noise(1, 3, 8, 8))


def test_a_bias_of_next_to_nothing_makes_no_island(make, op, half, close, noise):
    graph = make(op("Conv", "x w b", "y"), constants={"w": noise(4, 3, 3, 3), "b": np.full(4, 1e-9, np.float32)})
    result = half(graph)
    assert result.kept == ()
    close(graph, result, noise(1, 3, 8, 8))


def test_a_divisors_guard_does_not_become_zero(make, op, half, run, twin):
    guarded = make(op("Abs", "x", "a"), op("Add", "a e", "d"), op("Div", "x d", "y"), constants={"e": np.float32(1e-8)}, x=(1, 4))
    result = half(guarded, np.array([[0, 1, 2, 3]], np.float32))
    assert "flush" in reasons(result)["d"]
    clipped = make(op("Abs", "x", "a"), op("Clip", "a e", "d"), op("Div", "x d", "y"), constants={"e": np.float32(1e-12)}, x=(1, 4))
    assert "flush" in reasons(half(clipped, np.array([[0, 1, 2, 3]], np.float32)))["d"]


def test_bounds_beyond_the_range_bound_nothing(make, op, half, close, noise):
    for bound in (np.float32(1e6), np.float32(np.inf), np.finfo(np.float32).max):
        graph = make(op("Clip", "x low high", "y"), constants={"low": np.float32(0), "high": bound})
        result = half(graph)
        assert result.kept == ()
        close(graph, result, noise(1, 3, 8, 8))


def test_nodes_are_kept_on_request_and_unknown_ones_refused(operator, half):
    graph = operator("global pooling", 17)
    result = half(graph, keep=("y",))
    assert reasons(result) == {"y": "asked for"} and {"w", "b"} <= set(floats(result.artifact))
    with pytest.raises(BadNetwork, match="no node is called nobody"):
        half(graph, keep=("nobody",))


def test_nan_activations_are_not_taken_for_harmless(make, op, half):
    graph = make(op("Sqrt", "x", "h"), op("Neg", "h", "y"), x=(1, 2))
    assert "reaches nan" in reasons(half(graph, np.array([[-1.0, 4.0]], np.float32)))["h"]


def test_a_value_without_a_type_is_an_error(make, op, noise, tmp_path):
    graph = make(op("Relu", "x", "h"), op("Neg", "h", "y"))
    proto = onnx.load(str(graph.path))
    del proto.graph.value_info[:]
    onnx.save(proto, str(graph.path))
    with pytest.raises(BadNetwork, match="does not say of what type h is"):
        halve(graph, tmp_path / "half.onnx", HalfConfig(), observe(graph, noise(1, 3, 8, 8)))


# ---- the twin


def test_the_twin_rounds_every_operator(make, op, half, twin, noise):
    graph = make(
        op("Exp", "x", "a"), op("Log", "a", "b"), op("Mul", "b b", "c"), op("Reshape", "c s", "y"), constants={"s": np.array([-1])}
    )
    rounded = twin(half(graph))
    x = noise(1, 3, 8, 8)

    def fp16(values):
        return values.astype(np.float16).astype(np.float32)

    a = fp16(np.exp(fp16(x)))
    b = fp16(np.log(a))
    with OnnxRuntime().load(rounded, SessionOptions(threads=1)) as session:
        (found,) = session.run({"x": x}).values()
    np.testing.assert_allclose(found, fp16(b * b).ravel(), rtol=1e-3)
    assert (found == fp16(found)).all()


def test_the_twin_of_half_inputs_and_two_outputs(make, op, half, twin, run, noise):
    graph = make(op("Relu", "x", "y"), op("Exp", "y", "z"), outputs="y z")
    result = half(graph, keep_io=False)
    x = noise(1, 3, 8, 8).astype(np.float16)
    with OnnxRuntime().load(twin(result), SessionOptions(threads=1)) as session:
        found = session.run({"x": x})
    assert {name: array.dtype for name, array in found.items()} == {"y": np.float16, "z": np.float16}
    np.testing.assert_array_equal(found["y"], np.maximum(x, 0))
