"""Opsets up and down: ONNX Runtime computes the same before and after, and errors name what cannot
be converted.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.errors import BadNetwork
from edgekit.graph import opset
from edgekit.graph.io import constant, load, opset_of
from tests.graph.opsets import ints

# ---- down


@pytest.mark.parametrize(
    "kind",
    [
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSumExp",
        "ReduceSumSquare",
    ],
)
@pytest.mark.parametrize("axes", [(2, 3), (-1,), (1,)])
def test_axes_become_an_attribute(make, op, same, kind, axes):
    (node,) = same(
        make(op(kind, "x a", "y", keepdims=0), constants={"a": ints(*axes)}, opset=18), 17
    )
    assert tuple(node.attributes["axes"].as_ints()) == axes


def test_a_reduction_over_everything_needs_no_axes(make, op, same):
    (node,) = same(make(op("ReduceMean", "x", "y", keepdims=0), opset=18), 17)
    assert "axes" not in node.attributes
    (node,) = same(make(op("ReduceMean", "x a", "y"), constants={"a": ints()}, opset=18), 13)
    assert "axes" not in node.attributes and len(node.inputs) == 1


def test_computed_axes_and_axes_that_may_be_none_are_refused(make, op, convert):
    nodes = (op("Add", "one one", "a"), op("ReduceMean", "x a", "h"), op("Reshape", "h flat", "y"))
    with pytest.raises(
        BadNetwork, match=r"h \(ReduceMean\) cannot be written at opset 17: its axes are computed"
    ):
        convert(make(*nodes, constants={"one": ints(1), "flat": ints(-1)}, opset=18), 17)
    nothing = make(
        op("ReduceMean", "x a", "y", noop_with_empty_axes=1), constants={"a": ints()}, opset=18
    )
    with pytest.raises(BadNetwork, match="noop_with_empty_axes is newer"):
        convert(nothing, 17)


def test_equal_parts_need_no_number(make, op, same):
    nodes = same(
        make(
            op("Split", "x", "a b", axis=1, num_outputs=2),
            op("Sub", "a b", "y"),
            x=(1, 6, 2, 2),
            opset=18,
        ),
        17,
    )
    assert "num_outputs" not in nodes[0].attributes
    same(
        make(
            op("Split", "x", "a b", axis=-1, num_outputs=2),
            op("Sub", "a b", "y"),
            x=(1, 6, 2, 2),
            opset=20,
        ),
        13,
    )
    same(
        make(
            op("Split", "x s", "a b", axis=1),
            op("Mul", "a b", "y"),
            constants={"s": ints(1, 1)},
            x=(1, 2, 2, 2),
            opset=18,
        ),
        13,
    )


def test_unequal_parts_are_written_out(make, op, same, convert):
    for outputs, sizes in (("y z", [3, 2]), ("z y", [3, 2]), ("a y b", [2, 2, 1])):
        parts = len(sizes)
        graph = make(op("Split", "x", outputs, axis=1, num_outputs=parts), x=(1, 5, 2, 2), opset=18)
        (node,) = same(graph, 17)
        assert constant(node.inputs[1]).numpy().tolist() == sizes
    with pytest.raises(BadNetwork, match="the size of its 2 parts is unknown"):
        convert(
            make(op("Split", "x", "y z", axis=1, num_outputs=2), x=(1, "n", 2, 2), opset=18), 17
        )


def test_padding_goes_down_but_around_does_not(make, op, same, convert):
    same(
        make(
            op("Pad", "x p", "y", mode="reflect"),
            constants={"p": ints(0, 0, 1, 1, 0, 0, 2, 1)},
            opset=19,
        ),
        13,
    )
    chosen = make(
        op("Pad", "x p - a", "h"),
        op("Reshape", "h s", "y"),
        constants={"p": ints(1, 2, 3, 4), "a": ints(-1, 2), "s": ints(-1)},
        opset=18,
    )
    node, _ = same(chosen, 17)
    assert constant(node.inputs[1]).numpy().tolist() == [0, 0, 2, 1, 0, 0, 4, 3]
    nodes = (op("Add", "a a", "b"), op("Pad", "x p - b", "h"), op("Reshape", "h s", "y"))
    computed = make(*nodes, constants={"p": ints(1, 1), "a": ints(1), "s": ints(-1)}, opset=18)
    with pytest.raises(BadNetwork, match="pads computed axes"):
        convert(computed, 17)
    with pytest.raises(BadNetwork, match="wraps around"):
        convert(
            make(
                op("Pad", "x p", "y", mode="wrap"),
                constants={"p": ints(0, 0, 1, 1, 0, 0, 2, 1)},
                opset=19,
            ),
            18,
        )


@pytest.mark.parametrize("target", [13, 14, 17, 18])
def test_operators_that_only_gained_types_or_defaults_go_down(make, op, same, noise, target):
    constants = {
        "w": noise(4, 3, 3, 3),
        "g": np.abs(noise(4)) + 1,
        "b": noise(4),
        "low": np.float32(-1),
        "high": np.float32(1),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "shape": ints(1, -1),
    }
    nodes = (
        op("Conv", "x w", "c", pads=[1, 1, 1, 1]),
        op("BatchNormalization", "c g b b g", "n", training_mode=0),
        op("Clip", "n low high", "l"),
        op(
            "Resize",
            "l - scales",
            "r",
            mode="linear",
            antialias=0,
            keep_aspect_ratio_policy="stretch",
        ),
        op("AveragePool", "r", "p", kernel_shape=[2, 2], strides=[2, 2], dilations=[1, 1]),
        op("Cast", "p", "q", to=TensorProto.FLOAT, saturate=1),
        op("Reshape", "q shape", "f", allowzero=0),
        op("Softmax", "f", "y", axis=-1),
    )
    same(make(*nodes, constants=constants, opset=20), target)


def test_attributes_that_say_something_new_are_refused(make, op, convert):
    dilated = make(op("AveragePool", "x", "y", kernel_shape=[2, 2], dilations=[2, 2]), opset=19)
    with pytest.raises(
        BadNetwork,
        match=r"y \(AveragePool\) cannot be written at opset 18: its attribute dilations is "
        r"newer",
    ):
        convert(dilated, 18)
    scales = {"s": np.array([1, 1, 2, 2], np.float32)}
    with pytest.raises(BadNetwork, match="attribute antialias is newer"):
        convert(
            make(
                op("Resize", "x - s", "y", mode="linear", antialias=1), constants=scales, opset=18
            ),
            17,
        )
    symmetric = make(
        op(
            "Resize",
            "x - s",
            "y",
            mode="linear",
            coordinate_transformation_mode="half_pixel_symmetric",
        ),
        constants=scales,
        opset=19,
    )
    with pytest.raises(BadNetwork, match="half_pixel_symmetric"):
        convert(symmetric, 18)


def test_allowzero_goes_where_the_shape_has_no_zero(make, op, same, convert):
    same(make(op("Reshape", "x s", "y", allowzero=1), constants={"s": ints(1, -1)}, opset=18), 13)
    empty = make(op("Shape", "x", "s"), op("Reshape", "x s", "y", allowzero=1), opset=18)
    with pytest.raises(BadNetwork, match="attribute allowzero is newer"):
        convert(empty, 13)


def test_hard_swish_before_opset_14(make, op, same):
    nodes = same(make(op("Neg", "x", "n"), op("HardSwish", "n", "y"), opset=18), 13)
    assert [node.op_type for node in nodes] == ["Neg", "HardSigmoid", "Mul"]
    assert len({node.name for node in nodes}) == 3


@pytest.mark.parametrize(
    ("kind", "since", "attributes"),
    [("Gelu", 20, {}), ("Gelu", 20, {"approximate": "tanh"}), ("Mish", 18, {})],
)
@pytest.mark.parametrize("target", [13, 17])
def test_younger_activations_are_written_in_older_words(
    make, op, same, kind, since, attributes, target
):
    nodes = same(make(op("Neg", "x", "n"), op(kind, "n", "y", **attributes), opset=since), target)
    assert kind not in [node.op_type for node in nodes]
    assert len({node.name for node in nodes}) == len(nodes)
    assert all(
        value.dtype is not None and value.shape is not None
        for node in nodes
        for value in node.outputs
    )


@pytest.mark.parametrize(("source", "target"), [(21, 20), (21, 17), (22, 13)])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_normalization_is_that_of_instances(make, op, same, noise, source, target, groups):
    constants = {"s": noise(6, seed=1), "b": noise(6, seed=2), "whole": ints(2, 6, 4, 5)}
    normed = op("GroupNormalization", "x s b", "h", num_groups=groups, epsilon=1e-3)
    nodes = same(
        make(
            normed, op("Reshape", "h whole", "y"), constants=constants, x=(2, 6, 4, 5), opset=source
        ),
        target,
    )
    assert [node.op_type for node in nodes] == [
        "Reshape",
        "InstanceNormalization",
        "Reshape",
        "Mul",
        "Add",
        "Reshape",
    ]


def test_younger_operators_are_named(make, op, convert):
    graph = make(
        op("LayerNormalization", "x s", "y"), constants={"s": np.ones(8, np.float32)}, opset=17
    )
    with pytest.raises(
        BadNetwork,
        match=r"y \(LayerNormalization\) cannot be written at opset 13: LayerNormalization is "
        r"newer",
    ) as caught:
        convert(graph, 13)
    assert caught.value.hint == "choose a higher `opset`"


def test_operators_that_meant_something_else_are_refused(make, op, convert, noise):
    constants = {"grid": noise(1, 2, 2, 2)}
    sampled = make(op("GridSample", "x grid", "y", mode="linear"), constants=constants, opset=22)
    assert opset_of(load(convert(sampled, 20).path)) == 20
    with pytest.raises(BadNetwork, match="had a different meaning"):
        convert(sampled, 17)


def branching(tmp_path):
    """``x`` or its negative, by whether its sum is positive."""

    def branch(kind):
        out = helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3])
        return helper.make_graph([helper.make_node(kind, ["x"], ["z"])], kind, [], [out])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["c"]),
        helper.make_node(
            "If", ["c"], ["y"], name="choose", then_branch=branch("Relu"), else_branch=branch("Neg")
        ),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy")
    zero = onnx.numpy_helper.from_array(np.float32(0), "zero")
    path = tmp_path / "if.onnx"
    onnx.save(
        helper.make_model(
            helper.make_graph(nodes, "if", [x], [y], [zero]),
            opset_imports=[helper.make_opsetid("", 18)],
            ir_version=8,
        ),
        path,
    )
    return path


@pytest.mark.parametrize("target", [17, 18, 20])
def test_control_flow_is_refused_by_name(tmp_path, target):
    with pytest.raises(BadNetwork, match=r"choose \(If\) is control flow"):
        opset.convert(load(branching(tmp_path)), target)


@pytest.mark.parametrize("target", [12, 23])
def test_opsets_out_of_range_are_refused(make, op, convert, target):
    with pytest.raises(BadNetwork, match=f"opset {target} is not supported") as caught:
        convert(make(op("Relu", "x", "y")), target)
    assert caught.value.hint == "choose 13 to 22"
