"""Layers that stay FP32 because FP16 would overflow or underflow, and the twin that shows on a CPU
what a GPU would compute.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgekit.errors import BadNetwork
from edgekit.graph.forms.fp16 import Fp16Config, to_fp16
from edgekit.graph.observe import observe
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime


def reasons(result):
    return {node.name: node.reason for node in result.kept}


def test_activations_that_would_overflow_stay_fp32(make, op, half, close, noise, run, floats):
    constants = {"big": np.float32(1e5), "small": np.float32(1e-2), "w": noise(3, 3, 1, 1)}
    nodes = (
        op("Conv", "x w", "a"),
        op("Mul", "a big", "b"),
        op("Relu", "b", "c"),
        op("Mul", "c small", "d"),
        op("Mul", "d small", "y"),
    )
    graph = make(*nodes, constants=constants)
    result = half(graph)
    assert set(reasons(result)) == {"b", "c", "d"}
    assert (
        "overflows" in reasons(result)["b"] and "near FP16's limit of 65504" in reasons(result)["c"]
    )
    assert {"b", "c"} <= set(floats(result.artifact)) and "a" not in floats(result.artifact)
    close(graph, result, noise(1, 3, 8, 8, seed=4))


def test_the_twin_shows_the_overflow_that_onnx_runtime_hides(
    make, op, half, twin, run, noise, tmp_path
):
    constants = {"w": 300 * np.ones((3, 3, 1, 1), np.float32), "small": np.float32(1e-2)}
    nodes = (
        op("Conv", "x w", "a"),
        op("Conv", "a w", "b"),
        op("Mul", "b small", "c"),
        op("Mul", "c small", "y"),
    )
    graph = make(*nodes, constants=constants)
    images = np.abs(noise(1, 3, 8, 8)) + 0.5
    assert run(graph, images).max() > 50  # b reaches 1e5 and more
    bare = to_fp16(
        graph, tmp_path / "bare.onnx", Fp16Config(), observe(graph, images / 100)
    )  # images too dim to see it
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
        op("Mul", "x tiny", "a"),
        op("Mul", "a huge", "y"),
        constants={"tiny": np.float32(1e-4), "huge": np.float32(1e4)},
        x=(1, 4),
    )
    dim = np.array([[1e-2, 2e-2, -3e-2, 4e-2]], np.float32)
    result = half(graph, dim)
    assert "below FP16's normal numbers" in reasons(result)["a"] and set(reasons(result)) == {
        "a",
        "y",
    }
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
    large = make(
        *nodes, constants={"w": noise(3, 3, 1, 1), "u": np.full((3, 3, 1, 1), 7e4, np.float32)}
    )
    assert "weight 7e+04 overflows" in reasons(half(large))["y"]
    small = make(
        *nodes,
        constants={
            "w": noise(3, 3, 1, 1) * np.float32(1e-6),
            "u": noise(3, 3, 1, 1) * np.float32(1e6),
        },
    )
    result = half(small)
    assert "flush" in reasons(result)["h"]
    close(small, result, noise(1, 3, 8, 8))


def test_a_tiny_bias_does_not_keep_a_layer_in_fp32(make, op, half, close, noise):
    graph = make(
        op("Conv", "x w b", "y"),
        constants={"w": noise(4, 3, 3, 3), "b": np.full(4, 1e-9, np.float32)},
    )
    result = half(graph)
    assert result.kept == ()
    close(graph, result, noise(1, 3, 8, 8))


def test_a_divisors_guard_does_not_become_zero(make, op, half, run, twin):
    guarded = make(
        op("Abs", "x", "a"),
        op("Add", "a e", "d"),
        op("Div", "x d", "y"),
        constants={"e": np.float32(1e-8)},
        x=(1, 4),
    )
    result = half(guarded, np.array([[0, 1, 2, 3]], np.float32))
    assert "flush" in reasons(result)["d"]
    clipped = make(
        op("Abs", "x", "a"),
        op("Clip", "a e", "d"),
        op("Div", "x d", "y"),
        constants={"e": np.float32(1e-12)},
        x=(1, 4),
    )
    assert "flush" in reasons(half(clipped, np.array([[0, 1, 2, 3]], np.float32)))["d"]


def test_bounds_beyond_the_range_have_no_effect(make, op, half, close, noise):
    for bound in (np.float32(1e6), np.float32(np.inf), np.finfo(np.float32).max):
        graph = make(op("Clip", "x low high", "y"), constants={"low": np.float32(0), "high": bound})
        result = half(graph)
        assert result.kept == ()
        close(graph, result, noise(1, 3, 8, 8))


@pytest.mark.parametrize(
    "kind", ["ReduceL2", "ReduceLogSum", "LpPool", "GlobalLpPool", "LpNormalization"]
)
def test_layers_that_tensorrt_computes_in_fp32_are_listed(make, op, half, close, noise, kind):
    axes = (
        {"axes": [1]}
        if kind.startswith("Reduce")
        else {"kernel_shape": [2, 2]}
        if kind == "LpPool"
        else {}
    )
    graph = make(op("Sigmoid", "x", "h"), op(kind, "h", "i", **axes), op("Neg", "i", "y"))
    result = half(graph)
    assert reasons(result) == {"i": "TensorRT computes it in FP32"}
    close(graph, result, noise(1, 3, 8, 8))


def test_nan_activations_are_not_taken_for_harmless(make, op, half):
    graph = make(op("Sqrt", "x", "h"), op("Neg", "h", "y"), x=(1, 2))
    assert "reaches nan" in reasons(half(graph, np.array([[-1.0, 4.0]], np.float32)))["h"]


def test_a_value_without_a_type_is_an_error(make, op, noise, tmp_path):
    graph = make(op("Relu", "x", "h"), op("Neg", "h", "y"))
    proto = onnx.load(str(graph.path))
    del proto.graph.value_info[:]
    onnx.save(proto, str(graph.path))
    with pytest.raises(BadNetwork, match="has no type for value h"):
        to_fp16(graph, tmp_path / "half.onnx", Fp16Config(), observe(graph, noise(1, 3, 8, 8)))


# ---- the twin


def test_the_twin_rounds_every_operator(make, op, half, twin, noise):
    graph = make(
        op("Exp", "x", "a"),
        op("Log", "a", "b"),
        op("Mul", "b b", "c"),
        op("Reshape", "c s", "y"),
        constants={"s": np.array([-1])},
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
    assert {name: array.dtype for name, array in found.items()} == {
        "y": np.float16,
        "z": np.float16,
    }
    np.testing.assert_array_equal(found["y"], np.maximum(x, 0))
