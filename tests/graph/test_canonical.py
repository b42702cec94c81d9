"""Each canonical rule: it changes only the graphs that it should, and never what a graph computes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.graph.canonical_graphs import batch_norm, pads

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
