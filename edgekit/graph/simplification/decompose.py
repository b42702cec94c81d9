"""Decomposes new operators into operators of an older opset. The intermediate values get names and
types.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.errors import BadNetwork
from edgekit.graph.edit import float_attribute, initializer, int_attribute, replace, sibling
from edgekit.graph.io import constant


def hard_swish(graph: ir.Graph, node: ir.Node) -> None:
    """Replaces HardSwish (opset 14) by x · HardSigmoid(x)."""
    write = _Writer(graph, node)
    x = write.source
    write.last("Mul", [x, write("HardSigmoid", [x], {"alpha": 1 / 6, "beta": 0.5})])


def mish(graph: ir.Graph, node: ir.Node) -> None:
    """Replaces Mish (opset 18) by x · tanh(softplus(x))."""
    write = _Writer(graph, node)
    x = write.source
    write.last("Mul", [x, write("Tanh", [write("Softplus", [x])])])


def gelu(graph: ir.Graph, node: ir.Node) -> None:
    """Replaces Gelu (opset 20) by x · Φ(x). Φ, the normal distribution function, is computed with
    Erf, or with Tanh if ``approximate`` is ``tanh``.

    The nodes have the order of PyTorch's older exporters, because runtimes search for that pattern.
    """
    write = _Writer(graph, node)
    x = write.source
    if "approximate" in node.attributes and node.attributes["approximate"].as_string() == "tanh":
        cube = write("Mul", [write("Mul", [x, x]), x])
        inner = write("Add", [x, write("Mul", [cube, write.number(0.044715)])])
        bell = write("Tanh", [write("Mul", [inner, write.number(math.sqrt(2 / math.pi))])])
    else:
        bell = write("Erf", [write("Div", [x, write.number(math.sqrt(2))])])
    raised = write("Add", [bell, write.number(1.0)])
    write.last("Mul", [write("Mul", [x, raised]), write.number(0.5)])


def group_normalization(graph: ir.Graph, node: ir.Node) -> None:
    """Replaces GroupNormalization by InstanceNormalization of the groups. Scales are one per
    channel since opset 21, one per group in opsets 18 to 20.

    Raises:
        BadNetwork: the number of channels is unknown, or the scales are not constant.
    """
    write = _Writer(graph, node)
    x, groups = write.source, int_attribute(node, "num_groups", 1)
    scale, bias = constant(node.inputs[1]), constant(node.inputs[2])
    channels = x.shape[1] if x.shape is not None and len(x.shape) > 1 else None
    if scale is None or bias is None or not isinstance(channels, int) or x.shape is None:
        raise BadNetwork(
            f"{node.name} (GroupNormalization) has computed scales or no fixed number of channels",
            hint="choose `opset` 21",
        )
    numbers = [
        t.numpy() if t.size == channels else np.repeat(t.numpy(), channels // groups)
        for t in (scale, bias)
    ]
    by_channel = [number.reshape(channels, *(1,) * (len(x.shape) - 2)) for number in numbers]
    rows = write(
        "Reshape",
        [x, write.constant("groups", np.array([0, groups, -1], np.int64))],
        shape=[x.shape[0], groups, None],
    )
    one, zero = (
        write.constant(name, np.full(groups, n, np.float32))
        for name, n in (("one", 1.0), ("zero", 0.0))
    )
    normal = write(
        "InstanceNormalization",
        [rows, one, zero],
        {"epsilon": float_attribute(node, "epsilon", 1e-5)},
        shape=rows.shape,
    )
    back = write("Reshape", [normal, _shape_of(write, x)])
    scaled = write("Mul", [back, write.constant("scale", by_channel[0])])
    write.last("Add", [scaled, write.constant("bias", by_channel[1])])


def _shape_of(write: _Writer, x: ir.Value) -> ir.Value:
    """The shape to restore with a Reshape: a constant if only the batch is dynamic."""
    assert x.shape is not None
    rest = list(x.shape)[1:]
    if all(isinstance(size, int) for size in rest):
        batch = x.shape[0]
        return write.constant(
            "shape", np.array([batch if isinstance(batch, int) else -1, *rest], np.int64)
        )
    return write("Shape", [x], shape=[len(x.shape)], dtype=ir.DataType.INT64)


class _Writer:
    """Inserts nodes before ``node``; :meth:`last` replaces ``node`` by the final one."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        source = node.inputs[0]
        assert source is not None
        self.source = source
        self._graph, self._node = graph, node

    def __call__(
        self,
        op_type: str,
        inputs: Sequence[ir.Value],
        attributes: Mapping[str, float] | None = None,
        *,
        shape: ir.Shape | Sequence[ir.SymbolicDim | int | None] | None = None,
        dtype: ir.DataType | None = None,
    ) -> ir.Value:
        made = self._node_of(op_type, inputs, attributes)
        value = made.outputs[0]
        value.name, value.type = (
            made.name,
            ir.TensorType(dtype or self.source.dtype or ir.DataType.FLOAT),
        )
        value.shape = self.source.shape if shape is None else ir.Shape(shape)
        self._graph.insert_before(self._node, made)
        return value

    def last(self, op_type: str, inputs: Sequence[ir.Value]) -> None:
        replace(self._graph, self._node, [self._node_of(op_type, inputs, None)])

    def number(self, number: float) -> ir.Value:
        return self.constant("number", np.array(number, np.float32))

    def constant(
        self, name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]
    ) -> ir.Value:
        return initializer(self._graph, f"{self._node.name}.{name}", array)

    def _node_of(
        self, op_type: str, inputs: Sequence[ir.Value], attributes: Mapping[str, float] | None
    ) -> ir.Node:
        return ir.node(
            op_type,
            list(inputs),
            dict(attributes or {}),
            name=sibling(self._graph, self._node, op_type),
        )
