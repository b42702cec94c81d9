"""Each canonical rule: it changes only the graphs that it should, and never what a graph computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.graph.io import load, save
from edgekit.graph.simplification.canonical import canonicalize


@pytest.fixture
def canonical():
    def rewrite(artifact):
        model = load(artifact.path)
        canonicalize(model)
        rewritten = save(model, artifact.path.with_suffix(".canonical.onnx"), "fp32")
        onnx.checker.check_model(str(rewritten.path), full_check=True)
        return rewritten

    return rewrite


@pytest.fixture
def check(canonical, run, ops, noise):
    """Rewrites, compares outputs in ONNX Runtime, and returns the operators left."""

    def compare(artifact, *shape, atol=1e-5):
        rewritten = canonical(artifact)
        x = noise(*(shape or artifact.inputs[0].shape), seed=7)
        np.testing.assert_allclose(run(rewritten, x), run(artifact, x), atol=atol, rtol=1e-5)
        assert rewritten.outputs == artifact.outputs
        return ops(rewritten)

    return compare


def batch_norm(noise, channels=4):
    return {
        "g": 1 + noise(channels, seed=1),
        "b": noise(channels, seed=2),
        "m": noise(channels, seed=3),
        "v": np.abs(noise(channels, seed=4)) + 0.1,
    }


# ---- BatchNormalization


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 3])
def test_batch_norm_becomes_part_of_the_convolution(make, op, check, noise, bias, groups):
    constants = {"w": noise(6, 3 // groups, 3, 3), **batch_norm(noise, 6)} | (
        {"c": noise(6)} if bias else {}
    )
    conv = op("Conv", "x w c" if bias else "x w", "h", group=groups, pads=[1, 1, 1, 1])
    graph = make(
        conv, op("BatchNormalization", "h g b m v", "y", epsilon=1e-3), constants=constants
    )
    assert check(graph) == ["Conv"]


def test_batch_norm_behind_a_convolution_in_one_and_three_dimensions(make, op, check, noise):
    one = make(
        op("Conv", "x w", "h"),
        op("BatchNormalization", "h g b m v", "y"),
        constants={"w": noise(4, 3, 3), **batch_norm(noise)},
        x=(1, 3, 9),
    )
    assert check(one) == ["Conv"]
    constants = {"w": noise(4, 3, 2, 2, 2), **batch_norm(noise)}
    three = make(
        op("Conv", "x w", "h"),
        op("BatchNormalization", "h g b m v", "y"),
        constants=constants,
        x=(1, 3, 4, 4, 4),
    )
    assert check(three) == ["Conv"]


def test_two_convolutions_that_share_a_weight_fold_each_its_own_norm(make, op, check, noise):
    constants = {
        "w": noise(3, 3, 1, 1),
        **batch_norm(noise, 3),
        **{f"{k}2": v + 0.5 for k, v in batch_norm(noise, 3).items()},
    }
    graph = make(
        op("Conv", "x w", "h"),
        op("BatchNormalization", "h g b m v", "i"),
        op("Conv", "i w", "j"),
        op("BatchNormalization", "j g2 b2 m2 v2", "y"),
        constants=constants,
    )
    assert check(graph) == ["Conv", "Conv"]


def test_batch_norm_stays_where_another_node_reads_the_convolution(make, op, check, noise):
    nodes = (
        op("Conv", "x w", "h"),
        op("BatchNormalization", "h g b m v", "n"),
        op("Add", "n h", "y"),
    )
    assert check(make(*nodes, constants={"w": noise(4, 3, 1, 1), **batch_norm(noise)})) == [
        "Conv",
        "BatchNormalization",
        "Add",
    ]


def test_batch_norm_stays_where_the_convolution_is_an_output(make, op, check, noise):
    constants = {"w": noise(4, 3, 1, 1), **batch_norm(noise)}
    last = make(
        op("Conv", "x w", "h"),
        op("BatchNormalization", "h g b m v", "y"),
        constants=constants,
        outputs="y h",
    )
    assert check(last) == ["Conv", "BatchNormalization"]
    nodes = (
        op("Conv", "x w", "h"),
        op("BatchNormalization", "h g b m v", "n"),
        op("Relu", "n", "y"),
    )
    assert check(make(*nodes, constants=constants, outputs="h y")) == [
        "Conv",
        "BatchNormalization",
        "Relu",
    ]


def test_batch_norm_stays_without_a_convolution_or_with_a_computed_weight(make, op, check, noise):
    alone = make(
        op("Relu", "x", "h"),
        op("BatchNormalization", "h g b m v", "y"),
        constants=batch_norm(noise, 3),
    )
    assert check(alone) == ["Relu", "BatchNormalization"]
    computed = make(
        op("ReduceMean", "x", "r", axes=[0, 2, 3], keepdims=1),
        op("Conv", "x r", "h"),
        op("BatchNormalization", "h g b m v", "y"),
        constants=batch_norm(noise, 1),
    )
    assert check(computed) == ["ReduceMean", "Conv", "BatchNormalization"]


def test_batch_norm_of_rank_two_and_behind_a_transposed_convolution_stay(make, op, check, noise):
    constants = {"w": noise(5, 4), "c": noise(4), **batch_norm(noise)}
    dense = make(
        op("Gemm", "x w c", "h"),
        op("BatchNormalization", "h g b m v", "y"),
        constants=constants,
        x=(2, 5),
    )
    assert check(dense) == ["Gemm", "BatchNormalization"]
    constants = {"w": noise(3, 4, 2, 2), **batch_norm(noise)}
    assert check(
        make(
            op("ConvTranspose", "x w", "h"),
            op("BatchNormalization", "h g b m v", "y"),
            constants=constants,
        )
    ) == [
        "ConvTranspose",
        "BatchNormalization",
    ]


def test_batch_norm_in_training_mode_stays(make, op, canonical, ops, noise):
    nodes = (
        op("Conv", "x w", "h"),
        op("BatchNormalization", "h g b m v", "y m2 v2", training_mode=1),
    )
    assert ops(
        canonical(make(*nodes, constants={"w": noise(4, 3, 1, 1), **batch_norm(noise)}))
    ) == ["Conv", "BatchNormalization"]


# ---- Pad


def pad_then_conv(op, **attributes):
    return op("Pad", "x p", "h"), op("Conv", "h w", "y", **attributes)


def pads(*numbers):
    return np.array(numbers, np.int64)


@pytest.mark.parametrize(
    "attributes", [{}, {"pads": [1, 0, 2, 1], "strides": [2, 2]}, {"auto_pad": "VALID"}]
)
def test_zero_padding_becomes_the_convolutions(make, op, check, noise, attributes):
    constants = {"p": pads(0, 0, 1, 0, 0, 0, 2, 3), "w": noise(4, 3, 3, 3)}
    assert check(make(*pad_then_conv(op, **attributes), constants=constants)) == ["Conv"]


def test_an_explicit_zero_or_no_fill_is_the_same(make, op, check, noise):
    constants = {"p": pads(0, 0, 1, 1, 0, 0, 1, 1), "w": noise(4, 3, 3, 3), "zero": np.float32(0)}
    assert check(make(op("Pad", "x p zero", "h"), op("Conv", "h w", "y"), constants=constants)) == [
        "Conv"
    ]
    assert check(
        make(op("Pad", "x p -", "h"), op("Conv", "h w", "y"), constants=constants, opset=18)
    ) == ["Conv"]


@pytest.mark.parametrize(
    ("amounts", "attributes", "fill"),
    [
        ((0, 0, 1, 1, 0, 0, 1, 1), {}, 0.5),
        ((0, 0, 1, 1, 0, 0, 1, 1), {"mode": "reflect"}, None),
        ((0, 0, 1, 1, 0, 0, 1, 1), {"mode": "edge"}, None),
        ((0, 1, 0, 0, 0, 0, 0, 0), {}, None),
        ((0, 0, 0, 0, 0, 1, 0, 0), {}, None),
        ((0, 0, -1, 0, 0, 0, 2, 0), {}, None),
    ],
    ids=["fill", "reflect", "edge", "channel before", "channel behind", "crop"],
)
def test_other_padding_stays(make, op, check, noise, amounts, attributes, fill):
    channels = 3 + amounts[1] + amounts[5]
    constants = {"p": pads(*amounts), "w": noise(4, channels, 3, 3)} | (
        {} if fill is None else {"f": np.float32(fill)}
    )
    nodes = (
        op("Pad", "x p" if fill is None else "x p f", "h", **attributes),
        op("Conv", "h w", "y"),
    )
    assert check(make(*nodes, constants=constants)) == ["Pad", "Conv"]


def test_padding_stays_in_front_of_same_padding_and_of_pooling(make, op, check, noise):
    constants = {"p": pads(0, 0, 1, 1, 0, 0, 0, 0), "w": noise(4, 3, 3, 3)}
    assert check(
        make(*pad_then_conv(op, auto_pad="SAME_UPPER", strides=[2, 2]), constants=constants)
    ) == ["Pad", "Conv"]
    pool = make(
        op("Pad", "x p", "h"),
        op("MaxPool", "h", "y", kernel_shape=[2, 2]),
        constants={"p": constants["p"]},
    )
    assert check(pool) == ["Pad", "MaxPool"]


def test_chosen_axes_and_computed_amounts_stay(make, op, check, noise):
    constants = {"p": pads(1, 1), "axes": np.array([2], np.int64), "w": noise(4, 3, 3, 3)}
    chosen = make(
        op("Pad", "x p - axes", "h"), op("Conv", "h w", "y"), constants=constants, opset=18
    )
    assert check(chosen) == ["Pad", "Conv"]
    constants |= {"p": pads(0, 0, 1, 0, 0, 0, 2, 0), "axes": np.array([0, 1, 3, 2], np.int64)}
    swapped = make(
        op("Pad", "x p - axes", "h"), op("Conv", "h w", "y"), constants=constants, opset=18
    )
    assert check(swapped) == ["Pad", "Conv"]
    constants = {"zero": np.zeros(4, np.int64), "w": noise(4, 3, 3, 3)}
    computed = make(
        op("Shape", "x", "s"),
        op("Sub", "s s", "d"),
        op("Concat", "d zero", "p", axis=0),
        *pad_then_conv(op),
        constants=constants,
    )
    assert check(computed)[-2:] == ["Pad", "Conv"]


def test_padding_read_by_two_convolutions_goes_into_both(make, op, check, noise):
    constants = {
        "p": pads(0, 0, 1, 1, 0, 0, 1, 1),
        "w": noise(4, 3, 3, 3),
        "u": noise(4, 3, 3, 3, seed=1),
    }
    nodes = (
        op("Pad", "x p", "h"),
        op("Conv", "h w", "a"),
        op("Conv", "h u", "b"),
        op("Add", "a b", "y"),
    )
    assert check(make(*nodes, constants=constants)) == ["Conv", "Conv", "Add"]


def test_padding_that_another_node_or_the_caller_reads_stays_for_it(
    make, op, check, canonical, ops, noise
):
    constants = {"p": pads(0, 0, 1, 1, 0, 0, 1, 1), "w": noise(3, 3, 1, 1)}
    assert check(
        make(
            op("Pad", "x p", "h"),
            op("Conv", "h w", "a"),
            op("Add", "a h", "y"),
            constants=constants,
        )
    ) == ["Pad", "Conv", "Add"]
    assert ops(canonical(make(*pad_then_conv(op), constants=constants, outputs="y h"))) == [
        "Pad",
        "Conv",
    ]


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
