"""One test per rule."""

from __future__ import annotations

import pytest

from edgekit.quantization.placement import Placement
from tests.quantization.conftest import graph, placed, with_weights

W = "float[16,16,1,1]"


def reads(placement: Placement) -> set[tuple[str, int]]:
    return set(placement.edges)


def test_nothing_between_a_convolution_and_its_activation() -> None:
    model = graph(
        f"(float[1,16,8,8] x, {W} v, {W} w) => (float[1,16,8,8] y) {{ a = Conv(x, v) b = Relu(a) y "
        f"= Conv(b, w) }}"
    )
    placement = placed(with_weights(model, v=(16, 16, 1, 1), w=(16, 16, 1, 1)))
    assert placement.edges == {("a", 0): "x", ("y", 0): "b"}


def test_a_residual_add_reads_its_identity_only() -> None:
    model = graph(
        f"(float[1,16,8,8] x, {W} v, {W} w) => (float[1,16,8,8] y) {{ a = Conv(x, v) b = Conv(a, "
        f"w) y = Add(b, a) }}"
    )
    placement = placed(with_weights(model, v=(16, 16, 1, 1), w=(16, 16, 1, 1)))
    assert ("y", 1) in reads(placement) and ("y", 0) not in reads(placement)
    assert placement.edges["y", 1] == placement.edges["b", 0] == "a"


def test_of_two_convolutions_the_projection_shortcut_is_quantized() -> None:
    text = (
        f"(float[1,16,8,8] x, {W} u, {W} v, {W} w) => (float[1,16,8,8] y) {{ a = Conv(x, u) b = "
        f"Conv(a, v) s = Conv(x, w) y = Add(b, s) }}"
    )
    placement = placed(
        with_weights(graph(text), u=(16, 16, 1, 1), v=(16, 16, 1, 1), w=(16, 16, 1, 1))
    )
    assert ("y", 1) in reads(placement) and ("y", 0) not in reads(placement)


def test_an_add_behind_a_float_convolution_stays_float() -> None:
    model = graph(
        f"(float[1,16,8,8] x, {W} v, {W} w) => (float[1,16,8,8] y) {{ a = Conv(x, v) b = Conv(a, "
        f"w) y = Add(b, a) }}"
    )
    placement = placed(
        with_weights(model, v=(16, 16, 1, 1), w=(16, 16, 1, 1)), kept=frozenset({"b"})
    )
    assert reads(placement) == {("a", 0)}


@pytest.mark.parametrize(
    ("behind", "int8"),
    [("y = Conv(s, w)", True), ("r = Relu(s) y = Conv(r, w)", True), ("y = Softplus(s)", False)],
)
def test_a_sum_without_a_convolution_is_int8_where_it_is_read_so(behind: str, int8: bool) -> None:
    """In a transformer a norm reads it, and rounding both summands would only cost."""
    model = graph(
        f"(float[1,16,8,8] x, {W} w) => (float[1,16,8,8] y) {{ a = Sigmoid(x) b = Tanh(x) s = "
        f"Add(a, b) {behind} }}"
    )
    placement = placed(with_weights(model, w=(16, 16, 1, 1)))
    assert ({("s", 0), ("s", 1)} <= reads(placement)) == int8


def test_an_add_of_a_constant_is_no_residual() -> None:
    model = graph(
        f"(float[1,16,8,8] x, {W} w, float[1,16,1,1] c) => (float[1,16,8,8] y) {{ a = Conv(x, w) y "
        f"= Add(a, c) }}"
    )
    assert reads(placed(with_weights(model, w=(16, 16, 1, 1), c=(1, 16, 1, 1)))) == {("a", 0)}


def test_pooling_is_int8_in_and_out_and_flatten_carries_the_scale() -> None:
    model = graph(
        "(float[1,16,8,8] x, float[32,16] w) => (float[1,32] y) { p = GlobalAveragePool(x) f = "
        "Flatten(p) y = Gemm<transB=1>(f, w) }"
    )
    placement = placed(with_weights(model, w=(32, 16)))
    assert placement.edges == {("p", 0): "x", ("f", 0): "p", ("y", 0): "f"}
    assert placement.ties["p"] == placement.ties["f"] != placement.ties["x"]


def test_max_pool_keeps_the_scale() -> None:
    model = graph(
        f"(float[1,16,8,8] x, {W} w) => (float[1,16,4,4] y) {{ p = MaxPool<kernel_shape=[2,2], "
        f"strides=[2,2]>(x) y = Conv(p, w) }}"
    )
    placement = placed(with_weights(model, w=(16, 16, 1, 1)))
    assert (
        placement.edges == {("p", 0): "x", ("y", 0): "p"}
        and placement.ties["x"] == placement.ties["p"]
    )


def test_concatenated_values_share_one_scale() -> None:
    text = (
        f"(float[1,16,8,8] x, {W} u, {W} v, float[16,32,1,1] w) => (float[1,16,8,8] y) "
        "{ a = Conv(x, u) b = Conv(x, v) c = Concat<axis=1>(a, b) y = Conv(c, w) }"
    )
    placement = placed(
        with_weights(graph(text), u=(16, 16, 1, 1), v=(16, 16, 1, 1), w=(16, 32, 1, 1))
    )
    assert {("c", 0), ("c", 1), ("y", 0)} <= reads(placement)
    assert placement.ties["a"] == placement.ties["b"] == placement.ties["c"]


def test_channel_shuffle_carries_the_scale_through() -> None:
    text = (
        f"(float[1,16,8,8] x, {W} w) => (float[1,16,8,8] y) <int64[5] s = {{1,4,4,8,8}}, int64[4] "
        f"t = {{1,16,8,8}}> "
        "{ a = Reshape(x, s) b = Transpose<perm=[0,2,1,3,4]>(a) c = Reshape(b, t) y = Conv(c, w) }"
    )
    placement = placed(with_weights(graph(text), w=(16, 16, 1, 1)))
    assert len({placement.ties[value] for value in ("x", "a", "b", "c")}) == 1


def test_squeeze_excite_multiplies_in_int8_and_leaves_its_sigmoid() -> None:
    text = (
        f"(float[1,16,8,8] x, {W} v, {W} w) => (float[1,16,8,8] y) "
        "{ p = GlobalAveragePool(x) q = Conv(p, v) g = Sigmoid(q) m = Mul(x, g) y = Conv(m, w) }"
    )
    placement = placed(with_weights(graph(text), v=(16, 16, 1, 1), w=(16, 16, 1, 1)))
    assert {("m", 0), ("m", 1)} <= reads(placement) and ("g", 0) not in reads(placement)


@pytest.mark.parametrize(
    "activation",
    [
        "g = Sigmoid(a) b = Mul(a, g)",
        "b = HardSwish(a)",
        "t = Add(a, three) c = Clip(t, zero, six) m = Mul(a, c) b = Div(m, six)",
    ],
)
def test_silu_and_hard_swish_stay_whole(activation: str) -> None:
    constants = "<float three = {3.0}, float zero = {0.0}, float six = {6.0}>"
    model = graph(
        f"(float[1,16,8,8] x, {W} v, {W} w) => (float[1,16,8,8] y) {constants} {{ a = Conv(x, v) "
        f"{activation} y = Conv(b, w) }}"
    )
    assert reads(placed(with_weights(model, v=(16, 16, 1, 1), w=(16, 16, 1, 1)))) == {
        ("a", 0),
        ("y", 0),
    }


@pytest.mark.parametrize(
    ("shape", "group", "int8"),
    [
        ((16, 1, 3, 3), 16, True),
        ((12, 1, 3, 3), 12, False),
        ((16, 1, 1, 1), 16, False),
        ((8, 16, 1, 1), 1, False),
    ],
)
def test_layers_without_an_int8_kernel_stay_float(
    shape: tuple[int, ...], group: int, int8: bool
) -> None:
    channels = shape[1] * group
    model = graph(
        f"(float[1,{channels},8,8] x, float[{','.join(map(str, shape))}] w) => "
        f"(float[1,{shape[0]},m,n] y) "
        f"{{ a = Relu(x) y = Conv<group={group}>(a, w) }}"
    )
    (layer,) = placed(with_weights(model, w=shape)).layers
    assert (layer.reason is None) is int8


def test_the_first_convolution_may_have_three_channels() -> None:
    model = graph("(float[1,3,8,8] x, float[16,3,3,3] w) => (float[1,16,6,6] y) { y = Conv(x, w) }")
    assert reads(placed(with_weights(model, w=(16, 3, 3, 3)))) == {("y", 0)}


def test_unknown_operators_stay_float_and_are_listed() -> None:
    model = graph(
        f"(float[1,16,8,8] x, {W} w) => (float[1,16,8,8] y) {{ a = Sinh(x) y = Conv(a, w) }}"
    )
    assert placed(with_weights(model, w=(16, 16, 1, 1))).unknown == ("Sinh",)


def test_a_kept_layer_reads_float_and_so_does_what_served_it_alone() -> None:
    model = graph(
        "(float[1,16,8,8] x, float[32,16] w) => (float[1,32] y) { p = GlobalAveragePool(x) f = "
        "Flatten(p) y = Gemm<transB=1>(f, w) }"
    )
    assert not reads(placed(with_weights(model, w=(32, 16)), frozenset({"y"})))


@pytest.mark.parametrize(
    "before",
    [
        "a = Transpose<perm=[0,3,1,2]>(x)",
        "b = Sub(x, mean) c = Mul(b, scale) a = Transpose<perm=[0,3,1,2]>(c)",
        "b = Transpose<perm=[0,3,1,2]>(x) c = Gather<axis=1>(b, bgr) a = Pad(c, pads)",
        "b = Transpose<perm=[0,3,1,2]>(x) r, g, s = Split<axis=1>(b, ones) "
        "a = Concat<axis=1>(s, g, r)",
    ],
)
def test_the_first_convolution_may_read_an_image_that_the_graph_prepares(before: str) -> None:
    model = graph(
        "(float[1,8,8,3] x, float[16,3,3,3] w, float[3] mean, float[3] scale) => "
        "(float[1,16,h,v] y) <int64[3] bgr = {2,1,0}, int64[3] ones = {1,1,1}, "
        "int64[8] pads = {0,0,1,1,0,0,1,1}> { " + before + " y = Conv(a, w) }"
    )
    (layer,) = placed(with_weights(model, w=(16, 3, 3, 3), mean=(3,), scale=(3,))).layers
    assert layer.reason is None


def test_a_convolution_of_few_channels_behind_another_stays_float() -> None:
    model = graph(
        "(float[1,3,8,8] x, float[3,3,1,1] v, float[16,3,3,3] w) => (float[1,16,6,6] y) { "
        "a = Conv(x, v) b = Relu(a) y = Conv(b, w) }"
    )
    first, second = placed(with_weights(model, v=(3, 3, 1, 1), w=(16, 3, 3, 3))).layers
    assert first.reason is not None and second.reason is not None
