"""The canonical rules for Gemm, Sum and padded pooling."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph.io import load
from tests.graph.canonical_graphs import pads

LOWEST = np.float32(np.finfo(np.float32).min)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (1, 1), (1,), ()])
def test_factors_of_a_gemm_go_into_its_constants(
    make, op, canonical, check, noise, transposed, shape
):
    constants = {"w": noise(5, 3) if transposed else noise(3, 5), "c": noise(*shape, seed=1)}
    gemm = op("Gemm", "x w c", "y", alpha=0.5, beta=2.0, transB=transposed)
    artifact = make(gemm, constants=constants, x=(4, 3))
    assert check(artifact) == ["Gemm"]
    (node,) = load(canonical(artifact).path).graph
    assert {"alpha", "beta"}.isdisjoint(node.attributes)
    assert tuple(node.inputs[2].shape) == (5,)


def test_a_gemm_with_a_computed_bias_keeps_its_beta(make, op, canonical, check, noise):
    graph = make(
        op("Relu", "x", "c"),
        op("Gemm", "x w c", "y", alpha=0.5, beta=2.0),
        constants={"w": noise(3, 3)},
        x=(4, 3),
    )
    assert check(graph) == ["Relu", "Gemm"]
    gemm = list(load(canonical(graph).path).graph)[1]
    assert "alpha" not in gemm.attributes and gemm.attributes["beta"].as_float() == 2.0


def test_a_bias_that_differs_between_rows_stays(make, op, check, noise):
    gemm = op("Gemm", "x w c", "y", beta=2.0)
    graph = make(gemm, constants={"w": noise(3, 5), "c": noise(4, 5, seed=1)}, x=(4, 3))
    assert check(graph) == ["Gemm"]


@pytest.mark.parametrize(("inputs", "adds"), [("a", 0), ("a b", 1), ("a b a", 2), ("a b x a", 3)])
def test_a_sum_becomes_adds(make, op, check, inputs, adds):
    graph = make(
        op("Relu", "x", "a"), op("Sigmoid", "x", "b"), op("Sum", inputs, "s"), op("Relu", "s", "y")
    )
    assert sorted(check(graph)) == sorted(
        ["Relu", *["Sigmoid"] * (adds > 0), *["Add"] * adds, "Relu"]
    )


@pytest.mark.parametrize("fill", [np.float32(-np.inf), LOWEST])
def test_lowest_padding_becomes_the_poolings(make, op, check, fill):
    pool = op("MaxPool", "h", "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 0, 0])
    pad = op("Pad", "x p f", "h")
    constants = {"p": pads(0, 0, 0, 1, 0, 0, 1, 1), "f": fill}
    assert check(make(pad, pool, constants=constants)) == ["MaxPool"]


def test_padding_stays_where_indices_of_the_pooling_are_read(make, op, check):
    pool = op("MaxPool", "h", "m i", kernel_shape=[2, 2], strides=[2, 2])
    nodes = (op("Pad", "x p f", "h"), pool, op("Cast", "i", "c", to=1), op("Add", "m c", "y"))
    constants = {"p": pads(0, 0, 0, 0, 0, 0, 1, 1), "f": LOWEST}
    assert check(make(*nodes, constants=constants)) == ["Pad", "MaxPool", "Cast", "Add"]


@pytest.mark.parametrize(
    ("amounts", "attributes"),
    [
        ((0, 0, 2, 2, 0, 0, 0, 0), {}),
        ((0, 1, 1, 1, 0, 0, 1, 1), {}),
        ((0, 0, 0, 0, 0, 0, 1, 1), {"ceil_mode": 1}),
        ((0, 0, 0, 0, 0, 0, 1, 1), {"auto_pad": "SAME_UPPER"}),
    ],
)
def test_other_lowest_padding_stays(make, op, check, amounts, attributes):
    pool = op("MaxPool", "h", "y", kernel_shape=[2, 2], strides=[2, 2], **attributes)
    constants = {"p": pads(*amounts), "f": LOWEST}
    assert check(make(op("Pad", "x p f", "h"), pool, constants=constants)) == ["Pad", "MaxPool"]
