"""Fused patterns: one node if ONNX has an operator, the same outputs in ONNX Runtime, and no change
if a number differs.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgekit.graph.io import load, save
from edgekit.graph.simplification.canonical import canonicalize
from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace


@pytest.fixture
def check(run, ops, noise):
    """Rewrites, compares outputs in ONNX Runtime, and returns the operators left."""

    def compare(artifact, *shape, scale=3.0):
        model = load(artifact.path)
        canonicalize(model)
        rewritten = save(model, artifact.path.with_suffix(".canonical.onnx"), "fp32")
        onnx.checker.check_model(str(rewritten.path), full_check=True)
        x = noise(*(shape or artifact.inputs[0].shape), seed=7, scale=scale)
        np.testing.assert_allclose(run(rewritten, x), run(artifact, x), atol=1e-5, rtol=1e-5)
        return ops(rewritten)

    return compare


# ---- hard-swish

NUMBERS = {
    "three": np.float32(3),
    "zero": np.float32(0),
    "top": np.float32(6),
    "six": np.float32(6),
    "sixth": np.float32(1 / 6),
}
RELU6 = (("Add", "x three", "a"), ("Clip", "a zero top", "c"))
VARIANTS = {
    "(x clip) / 6": (*RELU6, ("Mul", "x c", "m"), ("Div", "m six", "y")),
    "(clip x) / 6": (
        ("Add", "three x", "a"),
        ("Clip", "a zero top", "c"),
        ("Mul", "c x", "m"),
        ("Div", "m six", "y"),
    ),
    "(x clip) 1/6": (*RELU6, ("Mul", "x c", "m"), ("Mul", "m sixth", "y")),
    "1/6 (x clip)": (*RELU6, ("Mul", "x c", "m"), ("Mul", "sixth m", "y")),
    "x (clip / 6)": (*RELU6, ("Div", "c six", "d"), ("Mul", "x d", "y")),
    "(clip / 6) x": (*RELU6, ("Div", "c six", "d"), ("Mul", "d x", "y")),
    "x (clip 1/6)": (*RELU6, ("Mul", "c sixth", "d"), ("Mul", "x d", "y")),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_hard_swish_in_pieces_is_one_node(make, op, check, variant):
    assert check(make(*(op(*node) for node in VARIANTS[variant]), constants=NUMBERS)) == [
        "HardSwish"
    ]


def test_hard_swish_by_hard_sigmoid(make, op, check):
    assert check(
        make(op("HardSigmoid", "x", "h", alpha=1 / 6, beta=0.5), op("Mul", "x h", "y"))
    ) == ["HardSwish"]
    for attributes in ({}, {"alpha": 1 / 6, "beta": 0.4}, {"alpha": 0.17, "beta": 0.5}):
        assert check(make(op("HardSigmoid", "x", "h", **attributes), op("Mul", "x h", "y"))) == [
            "HardSigmoid",
            "Mul",
        ]


@pytest.mark.parametrize("off", [{"three": 2}, {"zero": -1}, {"top": 5}, {"six": 5}])
def test_hard_swish_with_another_number_stays(make, op, check, off):
    constants = NUMBERS | {name: np.float32(value) for name, value in off.items()}
    assert check(make(*(op(*node) for node in VARIANTS["(x clip) / 6"]), constants=constants)) == [
        "Add",
        "Clip",
        "Mul",
        "Div",
    ]


def test_hard_swish_of_two_values_stays(make, op, check):
    nodes = (
        op("Neg", "x", "n"),
        *(op(*node) for node in RELU6),
        op("Mul", "n c", "m"),
        op("Div", "m six", "y"),
    )
    assert check(make(*nodes, constants=NUMBERS)) == ["Neg", "Add", "Clip", "Mul", "Div"]


def test_hard_swish_and_its_clip_read_by_another(make, op, check):
    nodes = (
        *(op(*node) for node in RELU6),
        op("Mul", "x c", "m"),
        op("Div", "m six", "d"),
        op("Add", "d c", "y"),
    )
    assert check(make(*nodes, constants=NUMBERS)) == ["Add", "Clip", "HardSwish", "Add"]


def test_hard_swish_stays_in_pieces_before_opset_14(make, op, check):
    nodes = tuple(op(*node) for node in VARIANTS["x (clip / 6)"])
    assert check(make(*nodes, constants=NUMBERS, opset=13)) == ["Add", "Clip", "Div", "Mul"]


def test_silu_stays_two_nodes(make, op, check):
    assert check(make(op("Sigmoid", "x", "s"), op("Mul", "x s", "y"))) == ["Sigmoid", "Mul"]


# ---- linear layers


def test_matrix_product_and_bias_are_one_layer(make, op, check, noise):
    constants = {"w": noise(5, 4), "b": noise(4)}
    assert check(
        make(op("MatMul", "x w", "h"), op("Add", "h b", "y"), constants=constants, x=(2, 5))
    ) == ["Gemm"]
    assert check(
        make(op("MatMul", "x w", "h"), op("Add", "b h", "y"), constants=constants, x=("n", 5)), 3, 5
    ) == ["Gemm"]
    row = make(
        op("MatMul", "x w", "h"),
        op("Add", "h b", "y"),
        constants={"w": noise(5, 4), "b": noise(1, 4)},
        x=(2, 5),
    )
    assert check(row) == ["Gemm"]


def test_matrix_product_without_a_bias_of_its_own(make, op, check, noise):
    assert check(make(op("MatMul", "x w", "y"), constants={"w": noise(5, 4)}, x=(2, 5))) == ["Gemm"]
    per_row = make(
        op("MatMul", "x w", "h"),
        op("Add", "h b", "y"),
        constants={"w": noise(5, 4), "b": noise(2, 1)},
        x=(2, 5),
    )
    assert check(per_row) == ["Gemm", "Add"]
    nodes = (op("MatMul", "x w", "h"), op("Add", "h b", "a"), op("Mul", "a h", "y"))
    assert check(make(*nodes, constants={"w": noise(5, 4), "b": noise(4)}, x=(2, 5))) == [
        "Gemm",
        "Add",
        "Mul",
    ]


def test_other_matrix_products_stay(make, op, check, noise):
    assert check(make(op("MatMul", "x w", "y"), constants={"w": noise(5, 4)}, x=(2, 3, 5))) == [
        "MatMul"
    ]
    assert check(make(op("MatMul", "w x", "y"), constants={"w": noise(4, 2)}, x=(2, 5))) == [
        "MatMul"
    ]
    assert check(make(op("Transpose", "x", "t"), op("MatMul", "x t", "y"), x=(2, 5))) == [
        "Transpose",
        "MatMul",
    ]


# ---- local response normalisation


class Norm(nn.Module):
    def __init__(self, size, k=1.0):
        super().__init__()
        self.norm = nn.LocalResponseNorm(size, alpha=0.05, beta=0.6, k=k)

    def forward(self, x):
        return self.norm(x).flatten(1)


@pytest.mark.parametrize(("size", "batch"), [(5, 1), (3, None)])
def test_torchs_local_response_norm_is_one_node(tmp_path, noise, ops, run, size, batch):
    module, images = Norm(size, 2.0), noise(2, 8, 4, 6, scale=4.0)
    traced = trace(module, tmp_path / "traced.onnx", TraceConfig((8, 4, 6), batch))
    result, notes = simplify(traced, tmp_path / "simple.onnx", SimplifyConfig(), images)
    assert notes == []
    assert ops(result)[0] == "LRN" and not {"AveragePool", "Pow"} & set(ops(result))
    expected = module(torch.from_numpy(images[:1])).numpy()
    np.testing.assert_allclose(run(result, images[:1]), expected, rtol=1e-5, atol=1e-6)


def norm_nodes(op, pool=(3, 1, 1), pads=(0, 0, 1, 0, 0, 0, 0, 1, 0, 0), fused=False, **over):
    constants = {
        "deep": np.array([2, 1, 6, 4, 5], np.int64),
        "p": np.array(pads, np.int64),
        "one": np.array([1], np.int64),
        "alpha": np.float32(0.3),
        "k": np.float32(1.5),
        "beta": np.float32(0.75),
    }
    padding = {"pads": [1, 0, 0, 1, 0, 0], "count_include_pad": 1} if fused else {}
    nodes = [
        op("Mul", "x x", "s"),
        op("Reshape", "s deep", "r"),
        *([] if fused else [op("Pad", "r p", "q")]),
        op("AveragePool", "r" if fused else "q", "m", kernel_shape=pool, **(padding | over)),
        op("Squeeze", "m one", "c"),
        op("Mul", "c alpha", "t"),
        op("Add", "t k", "u"),
        op("Pow", "u beta", "v"),
        op("Div", "x v", "y"),
    ]
    return nodes, constants


@pytest.mark.parametrize("fused", [False, True])
def test_local_response_norm_with_its_padding_apart_or_in_the_pool(make, op, check, fused):
    nodes, constants = norm_nodes(op, fused=fused)
    assert check(make(*nodes, constants=constants, x=(2, 6, 4, 5))) == ["LRN"]


@pytest.mark.parametrize(
    "change",
    [
        {
            "pool": (4, 1, 1),
            "pads": (0, 0, 2, 0, 0, 0, 0, 1, 0, 0),
        },  # an even window leans the other way in ONNX
        {"pads": (0, 0, 2, 0, 0, 0, 0, 0, 0, 0)},  # off centre
        {"pool": (3, 3, 1), "pads": (0, 0, 1, 1, 0, 0, 0, 1, 1, 0)},  # over rows as well
        {"fused": True, "count_include_pad": 0},  # the mean of fewer at the edges
    ],
    ids=["even", "off centre", "rows", "edges"],
)
def test_other_norms_stay(make, op, check, change):
    nodes, constants = norm_nodes(op, **change)
    assert "LRN" not in check(make(*nodes, constants=constants, x=(2, 6, 4, 5)))


def test_a_norm_across_channels_and_rows_stays(make, op, check):
    nodes, constants = norm_nodes(op)
    nodes[4] = op("Reshape", "m flat", "c")
    constants |= {
        "deep": np.array([2, 1, 24, 1, 5], np.int64),
        "flat": np.array([2, 6, 4, 5], np.int64),
    }
    assert "LRN" not in check(make(*nodes, constants=constants, x=(2, 6, 4, 5)))


def test_a_norm_of_another_values_square_stays(make, op, check):
    nodes, constants = norm_nodes(op)
    nodes[:1] = [op("Abs", "x", "a"), op("Mul", "a a", "s")]
    assert "LRN" not in check(make(*nodes, constants=constants, x=(2, 6, 4, 5)))
