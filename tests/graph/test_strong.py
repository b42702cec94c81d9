"""INT8 graphs for strongly typed networks: FP16 around unchanged codes, and FP32 if FP16 would
overflow or underflow.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgekit.artifact import Artifact
from edgekit.calib import photos
from edgekit.comparison import compare
from edgekit.errors import BadNetwork
from edgekit.graph.forms.float_weights import write_float_weights
from edgekit.graph.forms.fp16 import Fp16Config, rounding_twin
from edgekit.graph.forms.strongly_typed import to_strongly_typed
from edgekit.graph.io import load, save
from edgekit.graph.observe import observe
from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace
from edgekit.images import PreparedImages
from edgekit.quantization import QuantizeConfig, quantize
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.runtimes.tensorrt import TENSORRT_RTX, BuildConfig
from edgekit.sources import NetworkRequest, open_network

needs_rtx = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None,
    reason="tensorrt_rtx is not installed: pip install 'edgekit[rtx]'",
)
QDQ = ("QuantizeLinear", "DequantizeLinear")


def weights(*shape, seed=0, scale=0.01):
    """Codes of a weight and its scales, about ``scale`` a channel, none of them an FP16 number."""
    generator = np.random.default_rng([seed, *shape])
    return generator.integers(-127, 128, shape).astype(np.int8), (
        scale * generator.uniform(0.5, 1.5, shape[0])
    ).astype(np.float32)


@pytest.fixture
def layer(op):
    """``layer("c1", "x", "a", w)``: a convolution of x under the activation scale 0.0371…, its
    nodes and its constants.
    """

    def nodes(name, given, made, weight, *, scale=0.03712345, bias=None, kind="Conv"):
        codes, scales = weight
        constants = {
            f"{name}.s": np.float32(scale),
            f"{name}.z": np.int8(0),
            f"{name}.w": codes,
            f"{name}.ws": scales,
            f"{name}.wz": np.zeros(len(scales), np.int8),
        }
        inputs = f"{name}.dq {name}.wdq"
        if bias is not None:
            constants[f"{name}.b"], inputs = bias, f"{inputs} {name}.b"
        return [
            op("QuantizeLinear", f"{given} {name}.s {name}.z", f"{name}.q"),
            op("DequantizeLinear", f"{name}.q {name}.s {name}.z", f"{name}.dq"),
            op("DequantizeLinear", f"{name}.w {name}.ws {name}.wz", f"{name}.wdq", axis=0),
            op(kind, inputs, made, **({"transB": 1} if kind == "Gemm" else {})),
        ], constants

    return nodes


@pytest.fixture
def build(make):
    def graph(*parts, **settings):
        nodes = [
            node for part in parts for node in (part[0] if isinstance(part, tuple) else [part])
        ]
        constants = {
            name: array
            for part in parts
            if isinstance(part, tuple)
            for name, array in part[1].items()
        }
        return make(*nodes, constants=constants, **settings)

    return graph


@pytest.fixture
def strong(noise):
    def convert(artifact, images=None, *, keep=(), keep_io=True):
        images = noise(*artifact.inputs[0].shape) if images is None else images
        result = to_strongly_typed(
            artifact,
            artifact.path.with_suffix(".strong.onnx"),
            Fp16Config(keep_io, keep),
            observe(artifact, images),
        )
        onnx.checker.check_model(str(result.artifact.path), full_check=True)
        return result

    return convert


def types(artifact):
    """By name: the type of every value between input and output, constants among them."""
    graph = load(artifact.path).graph
    return {
        str(v.name): v.dtype
        for v in (*graph.initializers.values(), *(v for n in graph for v in n.outputs))
    }


def scales(artifact):
    """By name: the scale that each quantizer and dequantizer reads."""
    return {
        n.name: n.inputs[1].const_value.numpy()
        for n in load(artifact.path).graph
        if n.op_type in QDQ
    }


@pytest.fixture
def network(layer, build, op, noise):
    """A convolution, a residual block and a classifier, as ``edgekit.quantization`` writes them."""
    return build(
        layer("stem", "x", "a", weights(4, 3, 3, 3), bias=noise(4)),
        op("Relu", "a", "b"),
        layer("block", "b", "c", weights(4, 4, 1, 1)),
        layer("short", "b", "d", weights(4, 4, 1, 1, seed=1), scale=0.0512345),
        op("Add", "c d", "e"),
        op("GlobalAveragePool", "e", "f"),
        op("Flatten", "f", "g"),
        layer("head", "g", "y", weights(5, 4), bias=noise(5), kind="Gemm"),
    )


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


# ---- MobileNetV2 with its own weights


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    """Its FP32 and INT8 graphs, 32 photos it was not calibrated on, and its strong form."""
    folder = tmp_path_factory.mktemp("mobilenetv2")
    network = open_network(NetworkRequest("mobilenetv2"))
    images = PreparedImages(tuple(photos()[:42]), network.input).stack()
    traced = trace(network.module, folder / "traced.onnx", TraceConfig(images.shape[1:]))
    simple, _ = simplify(traced, folder / "simple.onnx", SimplifyConfig(), images[:2])
    config = QuantizeConfig("mse", "nearest", equalize=False, fallback=False, sensitivity=False)
    int8 = quantize(simple, folder / "int8.onnx", config, images[:8], images[8:10]).artifact
    return (
        simple,
        int8,
        images[10:],
        to_strongly_typed(
            int8, folder / "strong.onnx", Fp16Config(), observe(int8, images[:10])
        ).artifact,
    )


def logits(artifact: Artifact, images):
    with OnnxRuntime().load(artifact, SessionOptions(threads=1)) as session:
        return run_batches(session, images)


def test_fp16_around_the_codes_costs_nothing_that_int8_did_not(mobilenet, tmp_path):
    simple, int8, images, strong = mobilenet
    twin = rounding_twin(strong, tmp_path / "twin.onnx")
    expected = logits(simple, images)
    before, after = compare(expected, logits(int8, images)), compare(expected, logits(twin, images))
    # a rounding that falls on the other side of a tie spreads through every layer behind it: the
    # two differ, and are equally far from the reference
    assert before.sqnr > 14 and after.sqnr == pytest.approx(before.sqnr, abs=1.5)
    assert after.nonfinite == 0 and abs(after.agreeing - before.agreeing) <= 3


def test_only_codes_of_channels_too_small_for_fp16_move(mobilenet):
    _, int8, _, strong = mobilenet
    before, after = (
        {n: v.const_value.numpy() for n, v in load(a.path).graph.initializers.items()}
        for a in (int8, strong)
    )
    codes = {name for name in before if name.endswith("/int8")}
    raised = {name for name in codes if name not in after}
    assert len(codes) == 53 and all((before[name] == after[name]).all() for name in codes - raised)
    assert len(raised) == 10  # channels that training left without a use
    for name in raised:
        small = before[name.removesuffix("int8") + "scale"] < 2**-14
        moved = (before[name] != after[f"{name}|raised"]).reshape(len(small), -1).any(axis=1)
        assert moved.any() and not (moved & ~small).any() and small.mean() < 0.5, name
    assert {array.dtype.name for name, array in after.items() if name != "input/scale"} == {
        "int8",
        "float16",
    }


def test_weights_as_codes_take_a_quarter_of_the_float_graph_and_in_front_of_quantizers_all_of_it(
    mobilenet, tmp_path
):
    simple, int8, _, strong = mobilenet
    assert strong.megabytes < int8.megabytes < 0.28 * simple.megabytes
    assert (
        1 < write_float_weights(int8, tmp_path / "float.onnx").megabytes / simple.megabytes < 1.03
    )


def test_the_same_graph_gives_the_same_bytes(mobilenet, tmp_path):
    _, int8, images, _ = mobilenet
    seen = observe(int8, images[:2])
    first, second = (
        to_strongly_typed(int8, tmp_path / f"{i}.onnx", Fp16Config(), seen).artifact
        for i in range(2)
    )
    assert first.path.read_bytes() == second.path.read_bytes()


@needs_rtx
@pytest.mark.parametrize("capability", ["sm75", "sm86"])
def test_tensorrt_builds_the_real_network(mobilenet, tmp_path, capability):
    strong = mobilenet[3]
    engine = TENSORRT_RTX.build(strong, tmp_path / "plan.engine", BuildConfig(capability))
    assert (engine.precision, engine.parent) == (
        "int8",
        strong.sha256,
    ) and engine.megabytes > strong.megabytes
