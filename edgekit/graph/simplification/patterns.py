"""Fuses patterns of nodes that exporters write into one ONNX operator, for which runtimes have a
kernel.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from edgekit.graph.edit import (
    initializer,
    int_attribute,
    ints_attribute,
    replace,
    scalar,
    sibling,
    takes_floats,
    zeros_around,
)
from edgekit.graph.io import constant

HARD_SWISH_OPSET = 14


def linear(graph: ir.Graph, node: ir.Node) -> bool:
    """Replaces a MatMul of ``(N, K)`` with a constant ``(K, M)``, and an Add of a constant
    ``(M,)``, by Gemm.
    """
    if (
        node.op_type != "MatMul"
        or not takes_floats(node)
        or node.inputs[0] is None
        or node.inputs[1] is None
    ):
        return False
    shape, weight = node.inputs[0].shape, constant(node.inputs[1])
    if shape is None or len(shape) != 2 or weight is None or len(weight.shape) != 2:
        return False
    product = node.outputs[0]
    users = [] if product.is_graph_output() else list(product.uses())
    bias = _added(users[0].node, users[0].idx, weight.numpy().shape[1]) if len(users) == 1 else None
    inputs = [node.inputs[0], node.inputs[1]]
    last = node
    if bias is not None:
        tensor = constant(bias)
        assert tensor is not None
        last = users[0].node
        inputs.append(
            bias
            if len(tensor.shape) == 1
            else initializer(graph, f"{bias.name}.flat", tensor.numpy().ravel())
        )
    replace(graph, last, [ir.node("Gemm", inputs, name=sibling(graph, node, "Gemm"))])
    return True


def _added(node: ir.Node, slot: int, size: int) -> ir.Value | None:
    """The constant of ``size`` numbers, one per column, that an Add adds to its input ``slot``."""
    other = node.inputs[1 - slot] if node.op_type == "Add" else None
    tensor = constant(other)
    return other if tensor is not None and tuple(tensor.shape) in ((size,), (1, size)) else None


def hard_swish(graph: ir.Graph, node: ir.Node) -> bool:
    """Replaces ``x · clip(x + 3, 0, 6) / 6``, in any order of factors, and ``x · HardSigmoid(x)``
    by HardSwish (opset 14 and newer).
    """
    if (
        graph.opset_imports.get("", 0) < HARD_SWISH_OPSET
        or node.op_type not in ("Mul", "Div")
        or not takes_floats(node)
    ):
        return False
    source = _hard_swish_of(node)
    if source is None:
        return False
    replace(graph, node, [ir.node("HardSwish", [source], name=sibling(graph, node, "HardSwish"))])
    return True


def _hard_swish_of(node: ir.Node) -> ir.Value | None:
    sixth = _divided_by_six(node)
    if sixth is not None:  # (x · clip) / 6
        product = sixth.producer()
        if product is None or product.op_type != "Mul":
            return None
        return next((x for x, gate in _pairs(product) if _clipped(gate) is x), None)
    if node.op_type != "Mul":
        return None
    return next((x for x, gate in _pairs(node) if _hard_sigmoid_of(gate) is x), None)


def _pairs(node: ir.Node) -> list[tuple[ir.Value, ir.Value]]:
    a, b = node.inputs
    return [] if a is None or b is None else [(a, b), (b, a)]


def _hard_sigmoid_of(value: ir.Value) -> ir.Value | None:
    node = value.producer()
    if node is None:
        return None
    if node.op_type == "HardSigmoid":
        alpha, beta = (
            node.attributes[n].as_float() if n in node.attributes else d
            for n, d in (("alpha", 0.2), ("beta", 0.5))
        )
        return node.inputs[0] if math.isclose(alpha, 1 / 6, rel_tol=1e-5) and beta == 0.5 else None
    sixth = _divided_by_six(node)
    return None if sixth is None else _clipped(sixth)


def _divided_by_six(node: ir.Node) -> ir.Value | None:
    if node.op_type == "Div" and scalar(node.inputs[1]) == 6.0:
        return node.inputs[0]
    if node.op_type == "Mul":
        for value, factor in _pairs(node):
            number = scalar(factor)
            if number is not None and math.isclose(number, 1 / 6, rel_tol=1e-6):
                return value
    return None


def _clipped(value: ir.Value) -> ir.Value | None:
    """The ``x`` of ``clip(x + 3, 0, 6)``."""
    clip = value.producer()
    if (
        clip is None
        or clip.op_type != "Clip"
        or [scalar(v) for v in clip.inputs[1:]] != [0.0, 6.0]
        or clip.inputs[0] is None
    ):
        return None
    shifted = clip.inputs[0].producer()
    if shifted is None or shifted.op_type != "Add":
        return None
    return next((x for x, three in _pairs(shifted) if scalar(three) == 3.0), None)


def local_response_norm(graph: ir.Graph, node: ir.Node) -> bool:
    """Replaces ``x / (k + alpha · mean of x² over an odd window of channels) ** beta`` of an image
    ``(N, C, H, W)`` by LRN.

    PyTorch exports LRN as nine nodes: a reshape makes the channels a spatial axis, and a Pad and an
    AveragePool compute the window.
    """
    if (
        node.op_type != "Div"
        or not takes_floats(node)
        or node.inputs[0] is None
        or node.inputs[1] is None
    ):
        return False
    x = node.inputs[0]
    power = _step(node.inputs[1], "Pow")
    shifted = _behind(power, "Add")
    beta = scalar(power.inputs[1]) if power else None
    for mean, k in _pairs(shifted) if shifted else ():
        bias, scaled = scalar(k), _step(mean, "Mul")
        for pooled, factor in _pairs(scaled) if scaled else ():
            alpha, size = scalar(factor), _window(pooled, x)
            if None not in (alpha, beta, bias, size):
                attributes = {"size": size, "alpha": alpha, "beta": beta, "bias": bias}
                replace(
                    graph, node, [ir.node("LRN", [x], attributes, name=sibling(graph, node, "LRN"))]
                )
                return True
    return False


def _window(value: ir.Value, x: ir.Value) -> int | None:
    """The size of the odd channel window if ``value`` is the mean of x² over it with zero padding,
    else None.
    """
    back = _step(value, "Squeeze", "Reshape")
    pool = _behind(back, "AveragePool")
    pad = _behind(pool, "Pad")
    forth = _behind(pad or pool, "Unsqueeze", "Reshape")
    square = _behind(forth, "Mul", "Pow")
    if back is None or pool is None or forth is None or square is None or not _is_square(square, x):
        return None
    if not _same_dims(value.shape, x.shape, 4) or not _is_channels_as_depth(
        forth.outputs[0].shape, x.shape
    ):
        return None
    kernel, strides, own = (
        ints_attribute(pool, name, ()) for name in ("kernel_shape", "strides", "pads")
    )
    if len(kernel) != 3 or tuple(kernel[1:]) != (1, 1) or any(s != 1 for s in strides):
        return None
    half = kernel[0] // 2  # an even window cannot be centred
    if pad is not None:
        centred = zeros_around(pad) == [0, 0, half, 0, 0, 0, 0, half, 0, 0] and not any(own)
    else:  # a simplifier may have merged the Pad into the AveragePool
        centred = list(own) == [half, 0, 0, half, 0, 0] and bool(
            int_attribute(pool, "count_include_pad", 0)
        )
    return kernel[0] if centred else None


def _step(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The producer of ``value`` if its type is one of ``op_types``, else None."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type in op_types else None


def _behind(node: ir.Node | None, *op_types: str) -> ir.Node | None:
    """The producer of the first input of ``node`` if its type is one of ``op_types``, else None."""
    return None if node is None else _step(node.inputs[0], *op_types)


def _is_square(node: ir.Node, x: ir.Value) -> bool:
    if node.op_type == "Pow":
        return node.inputs[0] is x and scalar(node.inputs[1]) == 2.0
    return node.inputs[0] is x and node.inputs[1] is x


def _same_dims(a: ir.Shape | None, b: ir.Shape | None, rank: int) -> bool:
    return (
        a is not None and b is not None and len(a) == len(b) == rank and list(a)[1:] == list(b)[1:]
    )


def _is_channels_as_depth(deep: ir.Shape | None, flat: ir.Shape | None) -> bool:
    """Whether ``(N, C, H, W)`` is reshaped to ``(N, 1, C, H, W)``. Only the batch may be
    dynamic.
    """
    if deep is None or flat is None or len(deep) != 5 or len(flat) != 4:
        return False
    return list(deep)[1:] == [1, *list(flat)[1:]] and all(
        isinstance(dim, int) for dim in list(flat)[1:]
    )
