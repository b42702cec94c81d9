"""Which tensor of a graph holds which value, and where the inputs of a layer are cut."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.artifact import Carrier
from edgekit.errors import BadNetwork
from edgekit.graph.alignment import Alignment, alignments, record
from edgekit.graph.forms.fp16 import Fp16Config
from edgekit.graph.forms.strongly_typed import to_strongly_typed
from edgekit.graph.io import load, save
from edgekit.graph.observe import observe
from edgekit.layerwise.graph_values import GraphTaps
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime


@pytest.fixture
def taps(tmp_path):
    return lambda artifact: GraphTaps(artifact, tmp_path, OnnxRuntime(as_written=True))


@pytest.fixture
def quantized(make, op, noise):
    """``a`` is read as int8 alone; ``b`` as int8 and as it is."""
    nodes = (
        op("Conv", "x w", "a"),
        op("QuantizeLinear", "a s z", "a/QuantizeLinear"),
        op("DequantizeLinear", "a/QuantizeLinear s z", "a/DequantizeLinear"),
        op("Relu", "a/DequantizeLinear", "b"),
        op("QuantizeLinear", "b s z", "b/QuantizeLinear"),
        op("DequantizeLinear", "b/QuantizeLinear s z", "b/DequantizeLinear"),
        op("Conv", "b/DequantizeLinear v", "c"),
        op("Add", "b c", "y"),
    )
    return make(
        *nodes,
        constants={
            "w": noise(4, 3, 1, 1),
            "v": noise(4, 4, 1, 1),
            "s": np.float32(0.03),
            "z": np.int8(0),
        },
    )


def test_a_value_is_that_of_its_consumers(quantized, taps):
    found = taps(quantized).taps
    assert {name: tap.tensor for name, tap in found.items()} == {
        "input": "x",
        "a": "a/DequantizeLinear",
        "b": "b",
        "b|int8": "b/DequantizeLinear",
        "c": "c",
        "y": "y",
    }
    assert (
        found["a"].op_type == "Conv"
        and found["input"].op_type == "Input"
        and found["y"].shape == (1, 4, 8, 8)
    )


def test_the_codes_of_a_value_carry_it_too(quantized, taps):
    carriers = taps(quantized).carriers
    step = float(np.float32(0.03))
    assert carriers["a"] == (Carrier("a/DequantizeLinear"), Carrier("a/QuantizeLinear", step))
    assert carriers["b|int8"] == (Carrier("b/DequantizeLinear"), Carrier("b/QuantizeLinear", step))
    assert carriers["b"] == (Carrier("b"),)


def test_the_whole_graph_is_the_one_whose_values_are_read(quantized, taps, noise):
    whole = taps(quantized).whole()
    assert whole.precision == "int8" and whole.path != quantized.path
    x = {"x": noise(1, 3, 8, 8)}
    with (
        OnnxRuntime(as_written=True).load(whole, SessionOptions()) as again,
        OnnxRuntime(as_written=True).load(quantized, SessionOptions()) as first,
    ):
        np.testing.assert_array_equal(again.run(x)["y"], first.run(x)["y"])


def test_upstream_is_the_nearest_of_those_asked_for(quantized, taps):
    opened = taps(quantized)
    assert opened.upstream(list(opened.taps)) == {
        "input": (),
        "a": ("input",),
        "b": ("a",),
        "b|int8": ("b",),
        "c": ("b|int8",),
        "y": ("b", "c"),
    }
    assert opened.upstream(["a", "y"]) == {"a": (), "y": ("a",)}


def test_values_that_are_put_in_take_the_place_of_what_was_computed(quantized, taps, noise):
    opened = taps(quantized)
    b, deq = np.abs(noise(1, 4, 8, 8)), noise(1, 4, 8, 8, seed=1)
    with opened.alone(["y", "b|int8"], ["b", "b|int8", "c"]) as session:
        assert {spec.name for spec in session.inputs} == {"b|given", "c|given"}
        found = session.run({"b|given": b, "c|given": deq})
    np.testing.assert_allclose(found["y"], b + deq, rtol=1e-6)
    np.testing.assert_allclose(
        found["b/DequantizeLinear"],
        np.clip(np.rint(b / np.float32(0.03)), -128, 127) * np.float32(0.03),
        rtol=1e-6,
    )


def test_the_strong_form_keeps_every_name(quantized, taps, noise, tmp_path):
    names = set(taps(quantized).taps)
    result = to_strongly_typed(
        quantized,
        tmp_path / "strong.onnx",
        Fp16Config(keep=("c",)),
        observe(quantized, noise(1, 3, 8, 8)),
    )
    opened = taps(result.artifact)
    assert set(opened.taps) == names and opened.caution is not None and opened.output == "y"
    assert taps(quantized).caution is None


def test_all_dequantizers_of_a_value_are_cut(make, op, noise, taps):
    nodes = (
        op("Relu", "x", "a"),
        op("QuantizeLinear", "a s z", "q"),
        op("DequantizeLinear", "q s z", "d1"),
        op("DequantizeLinear", "q s z", "d2"),
        op("Neg", "d1", "n"),
        op("Mul", "n d2", "y"),
    )
    opened = taps(make(*nodes, constants={"s": np.float32(0.03), "z": np.int8(0)}))
    assert list(opened.taps) == ["input", "a", "n", "y"]
    assert set(opened.upstream(["a", "n", "y"])["y"]) == {"n", "a"}
    with opened.alone(["y"], ["a", "n"]) as session:
        assert {spec.name for spec in session.inputs} == {"d1|given", "n|given"}


def test_types_that_a_file_leaves_out_are_inferred(make, op, taps, noise):
    graph = make(op("Conv", "x w", "a"), op("Relu", "a", "y"), constants={"w": noise(4, 3, 1, 1)})
    model = load(graph.path)
    for node in model.graph:
        node.outputs[0].shape = (
            None if not node.outputs[0].is_graph_output() else node.outputs[0].shape
        )
        node.outputs[0].type = (
            None if not node.outputs[0].is_graph_output() else node.outputs[0].type
        )
    bare = save(model, graph.path.with_name("bare.onnx"), "fp32")
    assert taps(bare).taps["a"].shape == (1, 4, 8, 8)


def test_an_input_that_is_rounded_is_called_after_what_rounds_it(make, op, taps):
    halved = make(op("Cast", "x", "h", to=10), op("Cast", "h", "f", to=1), op("Relu", "f", "y"))
    quantized = make(
        op("QuantizeLinear", "x s z", "q"),
        op("DequantizeLinear", "q s z", "d"),
        op("Relu", "d", "y"),
        constants={"s": np.float32(0.03), "z": np.int8(0)},
    )
    assert (taps(halved).taps["input"].tensor, taps(halved).taps["input"].op_type) == ("f", "Cast")
    assert (taps(quantized).taps["input"].tensor, taps(quantized).taps["input"].op_type) == (
        "d",
        "QuantizeLinear",
    )


def test_no_graph(taps, quantized):
    quantized.path.write_bytes(b"words")
    with pytest.raises(BadNetwork):
        taps(quantized)


# ---- alignment


def test_alignment_can_be_inverted(noise):
    x = noise(2, 3, 4, 4)
    gain = np.array([0.5, 2, 8], np.float32)
    there = Alignment(gain, 1.5).from_reference(x)
    np.testing.assert_allclose(there, x * gain[:, None, None] - 1.5, rtol=1e-6)
    np.testing.assert_allclose(Alignment(gain, 1.5).to_reference(there), x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        Alignment(gain).from_reference(x[:, :, 0, 0]), x[:, :, 0, 0] * gain, rtol=1e-6
    )


def test_what_is_recorded_is_read_back_from_the_file(quantized):
    model = load(quantized.path)
    gain = np.array([1, 2, 3, 4])
    record(model, ("a", "b"), gain=gain)
    record(model, ("b",), shift=0.25)
    record(model, ("c",), shift=0.25)
    found = alignments(load(save(model, quantized.path, "int8").path))
    assert set(found) == {"a", "b", "c"} and (
        found["a"].shift,
        found["b"].shift,
        found["c"].shift,
    ) == (0.0, 0.25, 0.25)
    assert (
        (found["a"].gain == gain).all()
        and (found["b"].gain == gain).all()
        and found["c"].gain is None
    )
    assert alignments(load(quantized.path).__class__(model.graph, ir_version=8)) == {}
