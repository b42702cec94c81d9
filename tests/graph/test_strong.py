"""INT8 graphs for strongly typed networks: FP16 around unchanged codes, and FP32 if FP16 would
overflow or underflow.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.errors import BadNetwork
from edgekit.graph.io import load, save
from edgekit.runtimes.tensorrt import TENSORRT_RTX, BuildConfig
from tests.graph.strong_graphs import needs_rtx, scales, weights


def types(artifact):
    """By name: the type of every value between input and output, constants among them."""
    graph = load(artifact.path).graph
    return {
        str(v.name): v.dtype
        for v in (*graph.initializers.values(), *(v for n in graph for v in n.outputs))
    }


@pytest.mark.parametrize("keep_io", [True, False])
def test_what_is_not_int8_is_fp16(network, strong, keep_io):
    result = strong(network, keep_io=keep_io)
    assert (
        result.kept == ()
        and result.artifact.precision == "int8"
        and result.artifact.parent == network.sha256
    )
    model = load(result.artifact.path)
    assert model.opset_imports[""] == 19
    wide = {name for name, dtype in types(result.artifact).items() if dtype == ir.DataType.FLOAT}
    assert wide == ({"stem.s", "y"} if keep_io else set())  # the image is quantized as it comes
    assert {v.dtype for v in (*model.graph.inputs, *model.graph.outputs)} == {
        ir.DataType.FLOAT if keep_io else ir.DataType.FLOAT16
    }
    assert [n.op_type for n in model.graph].count("Cast") == int(keep_io)


def test_values_keep_their_names(network, strong):
    before, after = types(network), types(strong(network).artifact)
    computed = {str(v.name) for n in load(network.path).graph for v in n.outputs}
    assert computed <= set(after) and set(before) - computed >= {"stem.w", "stem.ws"}


def test_a_quantizer_and_its_dequantizers_share_one_fp16_number(network, strong):
    before, after = scales(network), scales(strong(network).artifact)
    assert set(before) == set(after) and len(before) == 12
    for name, exact in before.items():
        given = after[name].astype(np.float32)
        assert (given == exact.astype(np.float16)).all() and (given != exact).all(), name
    for layer in ("stem", "block", "short", "head"):
        assert after[f"{layer}.q"].astype(np.float32) == after[f"{layer}.dq"].astype(np.float32)


def test_it_computes_what_the_int8_graph_does(network, strong, twin, run, noise):
    result = strong(network)
    x = noise(1, 3, 8, 8, seed=5)
    expected = run(network, x)
    for graph in (result.artifact, twin(result)):
        np.testing.assert_allclose(run(graph, x), expected, atol=0.01 * np.abs(expected).max())


def test_a_newer_opset_stays(network, strong):
    model = load(network.path)
    model.opset_imports[""], model.ir_version = 20, 9
    assert (
        load(
            strong(save(model, network.path.with_name("newer.onnx"), "int8")).artifact.path
        ).opset_imports[""]
        == 20
    )


# ---- scales below FP16's normal numbers


def test_a_channel_with_a_tiny_scale_is_put_on_a_grid_that_fp16_has(
    layer, build, strong, twin, run, noise
):
    codes, given = weights(4, 3, 3, 3)
    given[2] = 1.1e-6
    graph = build(layer("c", "x", "y", (codes, given)))
    result = strong(graph)
    assert result.kept == ()
    constants = {
        n: v.const_value.numpy() for n, v in load(result.artifact.path).graph.initializers.items()
    }
    raised, moved = constants["c.ws|raised|fp16"], constants["c.w|raised"]
    assert (
        raised.dtype == np.float16
        and raised[2] == np.float16(2**-14)
        and (raised[[0, 1, 3]] == given[[0, 1, 3]].astype(np.float16)).all()
    )
    assert (moved[[0, 1, 3]] == codes[[0, 1, 3]]).all()
    np.testing.assert_allclose(moved[2] * 2**-14, codes[2] * given[2], atol=2**-15)
    x = noise(1, 3, 8, 8, seed=2)
    np.testing.assert_allclose(
        run(twin(result), x)[:, 2], run(graph, x)[:, 2], atol=np.abs(x).sum() * 2**-15
    )


@pytest.mark.parametrize("which", ["weights", "activations"])
def test_a_layer_of_tiny_scales_stays_fp32(layer, build, op, strong, twin, run, noise, which):
    tiny = which == "activations"
    small = layer(
        "c",
        "x",
        "h",
        weights(4, 3, 3, 3, scale=0.01 if tiny else 3.7e-6),
        scale=2.1e-6 if tiny else 0.0371,
    )
    larger = [op("Mul", "h k", "i")], {"k": np.float32(1e4)}
    graph = build(small, larger, layer("d", "i", "y", weights(4, 4, 1, 1)))
    x = noise(1, 3, 8, 8, scale=1e-4 if tiny else 1.0)
    result = strong(graph, x)
    kept = {node.name: node.reason for node in result.kept}
    assert (
        "below FP16's normal numbers" in kept["h"]
        and "y" not in kept
        and not any("q" in name for name in kept)
    )
    dtypes = types(result.artifact)
    assert {dtypes[name] for name in ("c.dq", "c.wdq", "h")} == {ir.DataType.FLOAT}
    assert {dtypes[name] for name in ("d.dq", "d.wdq")} == {ir.DataType.FLOAT16}
    exact = scales(graph)
    kept_exact = ("c.q", "c.dq") if tiny else ("c.wdq",)
    assert all((scales(result.artifact)[name] == exact[name]).all() for name in kept_exact)
    expected = run(graph, x)
    np.testing.assert_allclose(run(twin(result), x), expected, atol=0.02 * np.abs(expected).max())


# ---- islands


@pytest.fixture
def hot(layer, build, op, noise):
    """A convolution that reaches 1e5 in front of another, and a branch beside it that reads the
    same dequantizer.
    """
    return build(
        layer("c", "x", "a", weights(4, 3, 1, 1), bias=np.full(4, 1e5, np.float32)),
        ([op("Conv", "c.dq v", "side")], {"v": noise(4, 3, 1, 1)}),
        layer("d", "a", "b", weights(4, 4, 1, 1, scale=1e-4), scale=1e5 / 127),
        op("Add", "b side", "y"),
    )


def test_layers_that_would_overflow_stay_fp32_from_codes_to_codes(hot, strong, twin, run, noise):
    result = strong(hot)
    kept = {node.name: node.reason for node in result.kept}
    assert set(kept) == {"a", "b"} and "overflows" in kept["a"] and "near FP16's limit" in kept["b"]
    model = load(result.artifact.path)
    dtypes = types(result.artifact)
    assert {dtypes[n] for n in ("c.wdq", "c.dq|fp32", "a", "d.dq", "d.wdq", "b")} == {
        ir.DataType.FLOAT
    }
    assert {dtypes[n] for n in ("c.dq", "side")} == {ir.DataType.FLOAT16}
    nodes = {n.name: n for n in model.graph}
    assert nodes["d.q"].inputs[0].name == "a"  # read as it is, no Cast between
    assert [v.name for v in nodes["a"].inputs] == ["c.dq|fp32", "c.wdq", "c.b"]
    expected, x = run(hot, noise(1, 3, 8, 8)), noise(1, 3, 8, 8)
    assert np.isfinite(run(twin(result), x)).all()
    np.testing.assert_allclose(run(twin(result), x), expected, atol=2e-3 * np.abs(expected).max())


def test_the_twin_shows_an_overflow_between_the_codes(layer, build, op, strong, twin, run, noise):
    dim = noise(1, 3, 8, 8, scale=1e-3)
    graph = build(
        layer("c", "x", "a", weights(4, 3, 1, 1, scale=30.0), scale=0.5), op("Mul", "a a", "y")
    )
    bare = strong(graph, dim)  # too dim to see it
    assert bare.kept == ()
    x = 10 * np.abs(noise(1, 3, 8, 8))
    assert np.isfinite(run(bare.artifact, x)).all() and np.isinf(run(twin(bare), x)).any()


def test_a_layer_kept_by_name(network, strong, twin, run, noise):
    result = strong(network, keep=("c",))
    assert {node.name: node.reason for node in result.kept} == {"c": "requested"}
    dtypes = types(result.artifact)
    assert (
        dtypes["block.dq"] == dtypes["block.wdq"] == dtypes["c"] == ir.DataType.FLOAT
        and dtypes["d"] == ir.DataType.FLOAT16
    )


# ---- what cannot be taken


def test_a_float_graph_is_refused(make, op, strong):
    with pytest.raises(BadNetwork, match="has no QuantizeLinear") as caught:
        strong(make(op("Relu", "x", "y")))
    assert "quantize it first" in (caught.value.hint or "")


def test_an_unknown_node_name(network, strong):
    with pytest.raises(BadNetwork, match="no node is called stem"):
        strong(network, keep=("stem",))


def test_a_computed_scale(make, op, strong):
    nodes = (
        op("ReduceMax", "x", "s", keepdims=0),
        op("QuantizeLinear", "x s z", "q"),
        op("DequantizeLinear", "q s z", "y"),
    )
    with pytest.raises(BadNetwork, match="q computes its scale"):
        strong(make(*nodes, constants={"z": np.int8(0)}), np.ones((1, 3, 8, 8), np.float32))


# ---- TensorRT


@needs_rtx
@pytest.mark.parametrize("name", ["network", "hot"])
@pytest.mark.parametrize("keep_io", [True, False])
def test_tensorrt_builds_it_as_it_is_typed(request, strong, tmp_path, name, keep_io):
    result = strong(request.getfixturevalue(name), keep_io=keep_io)
    assert (
        TENSORRT_RTX.build(result.artifact, tmp_path / "plan.engine", BuildConfig("sm86"))
        .path.stat()
        .st_size
        > 0
    )
