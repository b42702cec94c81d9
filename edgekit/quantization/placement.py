"""Decides which values are int8: TensorRT's rules as one table of node types.

Each rule decides for one node which inputs are read as int8 and which values share one scale. The
output of a convolution is never quantized for its own sake: the value between a convolution and its
activation or its Add stays float.

Source: NVIDIA TensorRT developer guide, "Explicit Quantization" (Q/DQ placement recommendations).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from edgekit.graph.edit import fill_of
from edgekit.graph.io import constant
from edgekit.quantization.layers import Layer, Shapes, find_layer

ACTIVATIONS = frozenset(("Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish", "Min"))


@dataclass(frozen=True)
class Placement:
    """``edges`` maps (node, input position) to the value that is read there as int8. ``ties`` maps
    that value to the name of its scale group.

    ``unknown`` are operator types without a rule; they stay float.
    """

    layers: tuple[Layer, ...]
    edges: Mapping[tuple[str, int], str]
    ties: Mapping[str, str]
    unknown: tuple[str, ...] = ()

    @property
    def values(self) -> tuple[str, ...]:
        """The quantized values without duplicates, in graph order."""
        return tuple(dict.fromkeys(self.edges.values()))

    @property
    def quantized(self) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if layer.reason is None)


@dataclass
class _Wanted:
    """The decisions so far. Nodes are visited backwards from the logits."""

    shapes: Shapes
    layers: dict[str, Layer]
    depth: Mapping[str, int]
    edges: dict[tuple[str, int], str] = field(default_factory=dict)
    parent: dict[str, str] = field(default_factory=dict)

    def read(self, node: ir.Node, position: int) -> None:
        self.edges[str(node.name), position] = str(node.inputs[position].name)  # type: ignore[union-attr]

    def tie(self, a: str, b: str) -> None:
        self.parent[self.root(a)] = self.root(b)

    def root(self, name: str) -> str:
        while (up := self.parent.get(name, name)) != name:
            name = up
        return name

    def is_read(self, value: ir.Value) -> bool:
        """Whether a consumer reads the value as int8."""
        return any((str(use.node.name), use.idx) in self.edges for use in value.uses())

    def is_read_activated(self, value: ir.Value) -> bool:
        """Whether a consumer reads the value, or an activation of it, as int8."""
        return self.is_read(value) or any(
            use.node.op_type in ACTIVATIONS and self.is_read(use.node.outputs[0])
            for use in value.uses()
        )


Rule = Callable[[ir.Node, _Wanted], None]


def place(model: ir.Model, shapes: Shapes, kept: frozenset[str] = frozenset()) -> Placement:
    """Applies the rules to a simplified graph.

    Args:
        model: the graph, with named nodes and folded batch norms.
        shapes: the shape of every computed value for a batch of one.
        kept: layers that stay float for accuracy.
    """
    nodes = list(model.graph)
    layers = {
        str(node.name): layer
        for node in nodes
        if (layer := find_layer(node, shapes, kept)) is not None
    }
    wanted = _Wanted(shapes, layers, _depths(nodes))
    for node in reversed(nodes):
        RULES.get(node.op_type, _leave)(node, wanted)
    unknown = sorted(
        {node.op_type for node in nodes if node.domain or node.op_type not in RULES.keys() | FLOAT}
    )
    order = {name: i for i, name in enumerate(str(node.name) for node in nodes)}
    edges = dict(sorted(wanted.edges.items(), key=lambda item: (order[item[0][0]], item[0][1])))
    values = dict.fromkeys(edges.values())
    return Placement(
        tuple(layers.values()),
        edges,
        {value: wanted.root(value) for value in values},
        tuple(unknown),
    )


def _weighted(node: ir.Node, wanted: _Wanted) -> None:
    """A convolution or matrix product with an int8 kernel reads int8. Its weight is int8 per
    channel.
    """
    layer = wanted.layers.get(str(node.name))
    if layer is not None and layer.reason is None:
        wanted.read(node, 0)


def _add(node: ir.Node, wanted: _Wanted) -> None:
    """A residual Add reads its identity input as int8. The branch that ends in a convolution is
    fused with the Add and stays float.

    If both inputs are convolutions (a projection shortcut), the deeper one is the branch. Both
    inputs stay float if the branch's convolution is float, because nothing is fused then. They also
    stay float if no branch ends in a convolution and the sum is read in float, as in a transformer
    block.
    """
    inputs = [value for value in node.inputs if value is not None]
    if len(inputs) != 2 or any(constant(value) is not None for value in inputs):
        return
    if wanted.shapes[str(inputs[0].name)] != wanted.shapes[str(inputs[1].name)]:
        return
    convolutions = {
        i: name for i, value in enumerate(inputs) if (name := _ends_in_conv(value)) is not None
    }
    branch = (
        max(convolutions, key=lambda i: wanted.depth.get(str(inputs[i].name), 0))
        if convolutions
        else None
    )
    layer = None if branch is None else wanted.layers.get(convolutions[branch])
    if branch is not None and (layer is None or layer.reason is not None):
        return
    if branch is None and not wanted.is_read_activated(node.outputs[0]):
        return
    for i in range(2):
        if i != branch:
            wanted.read(node, i)


def _pool(node: ir.Node, wanted: _Wanted) -> None:
    """An average pooling reads int8 if its output is read as int8. Padding counts in the average,
    as in int8 kernels.
    """
    if wanted.is_read(node.outputs[0]):
        wanted.read(node, 0)


def _carry(node: ir.Node, wanted: _Wanted) -> None:
    """Operators that only move numbers or take a maximum keep the scale. They read int8 if their
    output is read as int8.
    """
    data = [
        i for i, value in enumerate(node.inputs) if value is not None and constant(value) is None
    ]
    if node.op_type == "MaxPool" and _is_filled(node.inputs[0]):
        return
    positions = data if node.op_type == "Concat" else data[:1]
    read = [value for value in node.outputs if wanted.is_read(value)]
    if (
        not read
        or 0 not in positions
        or (node.op_type == "Concat" and len(positions) != len(node.inputs))
        or len(wanted.shapes[str(node.inputs[0].name)]) < 2  # type: ignore[union-attr]
    ):
        return
    for position in positions:
        wanted.read(node, position)
        wanted.tie(str(node.inputs[position].name), str(read[0].name))  # type: ignore[union-attr]
    for value in read[1:]:
        wanted.tie(str(value.name), str(read[0].name))


def _is_filled(value: ir.Value | None) -> bool:
    """Whether a Pad with a number other than 0 produces a value. That number, often the lowest one,
    would set the scale.
    """
    pad = None if value is None else value.producer()
    return pad is not None and pad.op_type == "Pad" and fill_of(pad) not in (0.0, None)


def _gate(node: ir.Node, wanted: _Wanted) -> None:
    """The Mul of squeeze-and-excitation reads both inputs as int8. The Mul inside SiLU and h-swish
    stays float.
    """
    inputs = [value for value in node.inputs if value is not None]
    if any(constant(value) is not None for value in inputs):
        return
    shapes = [wanted.shapes[str(value.name)] for value in inputs]
    spatial = [len(shape) == 4 and shape[2] * shape[3] > 1 for shape in shapes]
    if sum(spatial) == 1:
        wanted.read(node, 0)
        wanted.read(node, 1)


def _leave(node: ir.Node, wanted: _Wanted) -> None:
    """All other operators stay float."""


RULES: dict[str, Rule] = {
    "Conv": _weighted,
    "ConvTranspose": _weighted,
    "Gemm": _weighted,
    "MatMul": _weighted,
    "Add": _add,
    "Mul": _gate,
    "GlobalAveragePool": _pool,
    "AveragePool": _pool,
    **dict.fromkeys(
        (
            "MaxPool",
            "Concat",
            "Flatten",
            "Reshape",
            "Transpose",
            "Squeeze",
            "Unsqueeze",
            "Split",
            "Slice",
            "Gather",
        ),
        _carry,
    ),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _carry),
}

# Known operators that stay float. Operators in neither table are reported to the user.
_FLOAT = """
Relu Clip LeakyRelu PRelu Elu Sigmoid HardSigmoid HardSwish Tanh Softmax LogSoftmax Sub Div Pow Sqrt
Exp Erf Max Min BatchNormalization InstanceNormalization LayerNormalization LRN ReduceMean ReduceSum
ReduceMax Pad Identity Dropout Cast Shape Constant ConstantOfShape Expand Neg Abs Floor Ceil Round
Reciprocal Log Selu Celu Gelu Mish Softplus Softsign GroupNormalization LpNormalization
GlobalMaxPool ReduceMin ReduceL1 ReduceL2 Sum Where Equal Einsum Resize
"""
FLOAT = frozenset(_FLOAT.split())


def _ends_in_conv(value: ir.Value) -> str | None:
    """The name of the convolution that produces a value with one consumer, else None."""
    producer = value.producer()
    if (
        producer is None
        or producer.op_type != "Conv"
        or len(value.uses()) != 1
        or value.is_graph_output()
    ):
        return None
    return str(producer.name)


def _depths(nodes: Sequence[ir.Node]) -> dict[str, int]:
    """The number of weighted operators on the longest path from the input to each value."""
    depth: dict[str, int] = {}
    for node in nodes:
        step = node.op_type in ("Conv", "Gemm", "MatMul")
        deepest = max(
            (depth.get(str(value.name), 0) for value in node.inputs if value is not None), default=0
        )
        depth.update(dict.fromkeys((str(value.name) for value in node.outputs), deepest + step))
    return depth
