"""Canonical rules for poolings, for what does nothing and for Expand."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgekit.graph.io import load
from tests.graph.canonical_graphs import batch_norm, pads

# ---- ReduceMean


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [3, 2]])
@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("batch", [1, 3, "n"])
def test_mean_over_the_image_is_global_pooling(make, op, check, axes, opset, batch):
    form = {"axes": axes} if opset == 17 else {}
    inputs, constants = ("x", {}) if opset == 17 else ("x a", {"a": np.array(axes, np.int64)})
    kept = make(
        op("ReduceMean", inputs, "y", **form), constants=constants, x=(batch, 3, 5, 4), opset=opset
    )
    assert check(kept, 3 if batch == "n" else batch, 3, 5, 4) == ["GlobalAveragePool"]
    dropped = make(
        op("ReduceMean", inputs, "y", keepdims=0, **form),
        constants=constants,
        x=(batch, 3, 5, 4),
        opset=opset,
    )
    assert check(dropped, 3 if batch == "n" else batch, 3, 5, 4) == ["GlobalAveragePool", "Flatten"]


@pytest.mark.parametrize("axes", [[1], [2], [1, 2], [0, 2, 3], [1, 2, 3], None])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_other_means_stay(make, op, check, axes, keepdims):
    attributes = {} if axes is None else {"axes": axes}
    assert check(make(op("ReduceMean", "x", "y", keepdims=keepdims, **attributes))) == [
        "ReduceMean"
    ]


def test_means_of_other_ranks_other_reductions_and_computed_axes_stay(make, op, check):
    assert check(make(op("ReduceMean", "x", "y", axes=[1, 2]), x=(2, 5, 6))) == ["ReduceMean"]
    assert check(make(op("ReduceMean", "x", "y", axes=[2, 3]), x=(2, 5, 6, 7, 2))) == ["ReduceMean"]
    assert check(make(op("ReduceMax", "x", "y", axes=[2, 3]))) == ["ReduceMax"]
    constants = {
        "two": np.array([2], np.int64),
        "three": np.array([3], np.int64),
        "one": np.array([1], np.int64),
    }
    axes = (op("Add", "two one", "t"), op("Concat", "two t", "a", axis=0))
    computed = make(
        *axes,
        op("ReduceMean", "x a", "h"),
        op("Reshape", "h flat", "y"),
        constants={**constants, "flat": pads(-1)},
        opset=18,
    )
    assert check(computed)[2] == "ReduceMean"


def test_means_of_integers_stay(make, op, canonical, ops):
    nodes = (op("Cast", "x", "i", to=TensorProto.INT32), op("ReduceMean", "i", "y", axes=[2, 3]))
    assert ops(canonical(make(*nodes, outputs={"y": TensorProto.INT32}))) == ["Cast", "ReduceMean"]


def test_poolings_of_one_module_have_different_names(make, op, check, canonical):
    first = helper.make_node(
        "ReduceMean", ["x"], ["pool/ReduceMean"], name="pool/ReduceMean", axes=[2, 3], keepdims=0
    )
    second = helper.make_node(
        "ReduceMean",
        ["r"],
        ["pool/ReduceMean_2"],
        name="pool/ReduceMean_2",
        axes=[2, 3],
        keepdims=0,
    )
    graph = make(
        first, op("Relu", "x", "r"), second, op("Sub", "pool/ReduceMean pool/ReduceMean_2", "y")
    )
    assert check(graph) == [
        "GlobalAveragePool",
        "Flatten",
        "Relu",
        "GlobalAveragePool",
        "Flatten",
        "Sub",
    ]
    names = [value.name for node in load(canonical(graph).path).graph for value in node.outputs]
    assert names[0] == "pool/GlobalAveragePool"
    assert len(set(names)) == len(names)


# ---- what does nothing


@pytest.mark.parametrize("kind", ["AveragePool", "MaxPool"])
def test_pooling_of_single_pixels_is_removed(make, op, check, kind):
    assert check(
        make(
            op("Relu", "x", "h"),
            op(kind, "h", "i", kernel_shape=[1, 1], strides=[1, 1]),
            op("Neg", "i", "y"),
        )
    ) == [
        "Relu",
        "Neg",
    ]
    assert check(make(op("Relu", "x", "h"), op(kind, "h", "y", kernel_shape=[1, 1]))) == ["Relu"]


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [1, 1], "strides": [2, 2]},
        {"kernel_shape": [1, 2]},
        {"kernel_shape": [1, 1], "strides": [1, 2]},
    ],
)
@pytest.mark.parametrize("kind", ["AveragePool", "MaxPool"])
def test_pooling_that_takes_or_leaves_pixels_stays(make, op, check, kind, attributes):
    assert check(make(op("Relu", "x", "h"), op(kind, "h", "y", **attributes))) == ["Relu", kind]


def test_single_pixel_pooling_stays_where_its_indices_are_read_or_it_pads(make, op, check):
    nodes = (
        op("MaxPool", "x", "h i", kernel_shape=[1, 1]),
        op("Cast", "i", "f", to=TensorProto.FLOAT),
        op("Add", "h f", "y"),
    )
    assert check(make(*nodes)) == ["MaxPool", "Cast", "Add"]


def test_dropout_and_identity_are_removed(make, op, check):
    nodes = (
        op("Relu", "x", "h"),
        op("Dropout", "h", "d"),
        op("Identity", "d", "i"),
        op("Neg", "i", "y"),
    )
    assert check(make(*nodes)) == ["Relu", "Neg"]
    assert check(
        make(
            op("Relu", "x", "h"),
            op("Dropout", "h ratio off", "y"),
            constants={"ratio": np.float32(0.5), "off": np.array(False)},
        )
    ) == ["Relu"]


def test_dropout_that_drops_or_whose_mask_is_read_stays(make, op, canonical, ops):
    on = {"ratio": np.float32(0.5), "on": np.array(True)}
    assert ops(
        canonical(make(op("Relu", "x", "h"), op("Dropout", "h ratio on", "y"), constants=on))
    ) == ["Relu", "Dropout"]
    mask = make(
        op("Relu", "x", "h"),
        op("Dropout", "h", "y m"),
        outputs={"y": TensorProto.FLOAT, "m": TensorProto.BOOL},
    )
    assert ops(canonical(mask)) == ["Relu", "Dropout"]


def test_nothing_between_the_input_and_the_output_is_left_as_it_is(make, op, check):
    assert check(make(op("Dropout", "x", "y"))) == ["Dropout"]


def test_an_identity_that_makes_two_outputs_of_one_value_stays(make, op, canonical, ops):
    graph = make(
        op("Relu", "x", "y"), op("AveragePool", "y", "z", kernel_shape=[1, 1]), outputs="y z"
    )
    assert ops(canonical(graph)) == ["Relu", "AveragePool"]


def test_constants_become_initializers_and_unused_nodes_go(make, op, check):
    three = op("Constant", "", "c", value=helper.make_tensor("three", TensorProto.FLOAT, [], [3.0]))
    assert check(make(three, op("Exp", "x", "unused"), op("Add", "x c", "y"))) == ["Add"]


def test_a_second_time_nothing_changes(make, op, canonical, noise):
    constants = {"p": pads(0, 0, 1, 1, 0, 0, 1, 1), "w": noise(4, 3, 3, 3), **batch_norm(noise)}
    nodes = (
        op("Pad", "x p", "h"),
        op("Conv", "h w", "c"),
        op("BatchNormalization", "c g b m v", "n"),
        op("ReduceMean", "n", "y", axes=[2, 3]),
    )
    once = canonical(make(*nodes, constants=constants))
    assert canonical(once).sha256 == once.sha256


# ---- Expand


@pytest.mark.parametrize("kind", ["Mul", "Add", "Sub", "Div"])
@pytest.mark.parametrize("order", ["x e", "e x"])
def test_a_gate_is_not_spread_over_its_image(make, op, check, kind, order):
    nodes = (
        op("ReduceMean", "x", "m", axes=[2, 3]),
        op("Exp", "m", "g"),
        op("Expand", "g s", "e"),
        op(kind, order, "y"),
    )
    assert "Expand" not in check(make(*nodes, constants={"s": np.array([1, 3, 8, 8])}))


def test_what_an_expand_makes_larger_stays(make, op, check):
    nodes = (
        op("ReduceMean", "x", "m", axes=[2, 3]),
        op("Expand", "m s", "e"),
        op("Mul", "x e", "h"),
        op("ReduceMax", "h", "y", axes=[0]),
    )
    assert "Expand" in check(make(*nodes, constants={"s": np.array([2, 3, 8, 8])}))
    nodes = (op("ReduceMean", "x", "m", axes=[1]), op("Expand", "m s", "e"), op("Mul", "m e", "y"))
    assert "Expand" in check(make(*nodes, constants={"s": np.array([1, 3, 8, 8])}))
    nodes = (op("Expand", "m s", "e"), op("Add", "e e", "y"))
    both = make(
        op("ReduceMean", "x", "m", axes=[1]), *nodes, constants={"s": np.array([1, 3, 8, 8])}
    )
    assert "Expand" in check(both)
