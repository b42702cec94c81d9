"""Small helpers for reading and rewriting a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgekit.graph.io import constant
from edgekit.graph.names import unique

LOWEST = float(np.finfo(np.float32).min)
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)


def int_attribute(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


def float_attribute(node: ir.Node, name: str, default: float) -> float:
    return node.attributes[name].as_float() if name in node.attributes else default


def ints_attribute(node: ir.Node, name: str, default: Sequence[int]) -> Sequence[int]:
    return node.attributes[name].as_ints() if name in node.attributes else default


def scalar(value: ir.Value | None) -> float | None:
    """The number in a constant of one element, else None."""
    tensor = constant(value)
    return float(tensor.numpy().ravel()[0]) if tensor is not None and tensor.size == 1 else None


def takes_floats(node: ir.Node) -> bool:
    return node.inputs[0] is not None and node.inputs[0].dtype in _FLOATS


def zeros_around(pad: ir.Node) -> list[int] | None:
    """The zeros that a Pad adds: first at the start of each axis, then at the end. None if it does
    anything else.
    """
    return _around(pad, lambda fill: fill == 0.0)


def lowest_around(pad: ir.Node) -> list[int] | None:
    """The same for a Pad that adds minus infinity, or the lowest finite number."""
    return _around(pad, lambda fill: fill <= LOWEST)


def fill_of(pad: ir.Node) -> float | None:
    """The number that a Pad adds; None if it is computed."""
    fill = pad.inputs[2] if len(pad.inputs) > 2 else None
    return 0.0 if fill is None else scalar(fill)


def _around(pad: ir.Node, fits: Callable[[float], bool]) -> list[int] | None:
    if pad.op_type != "Pad" or (
        "mode" in pad.attributes and pad.attributes["mode"].as_string() != "constant"
    ):
        return None
    amounts = constant(pad.inputs[1]) if len(pad.inputs) > 1 else None
    fill = fill_of(pad)
    if (
        amounts is None
        or fill is None
        or not fits(fill)
        or any(axes is not None for axes in pad.inputs[3:])
    ):
        return None
    numbers = [int(n) for n in amounts.numpy()]
    return numbers if all(n >= 0 for n in numbers) else None


def initializer(
    graph: ir.Graph, name: str, array: NDArray[Any], taken: set[str] | None = None
) -> ir.Value:
    """Adds a constant to the graph. If ``name`` is taken, a number is appended. To add many
    constants, give the names in the graph as ``taken``; the new name is added to it.
    """
    name = unique(name, names_in(graph) if taken is None else taken)
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
    )
    value.const_value = ir.tensor(array, name=name)
    graph.register_initializer(value)
    return value


def sibling(graph: ir.Graph, node: ir.Node, op_type: str) -> str:
    """A free name with the path of ``node`` and another operator."""
    path, slash, old = (node.name or "").rpartition("/")
    named_after_operator = bool(slash) or old.rstrip("_0123456789") == node.op_type
    name = f"{path}{slash}{op_type}" if named_after_operator else f"{node.name}/{op_type}"
    return unique(name, names_in(graph))


def bypass(graph: ir.Graph, node: ir.Node) -> bool:
    """Removes a node whose first output equals its first input. Returns False if it connects a
    graph input to a graph output and must stay.
    """
    source, target = node.inputs[0], node.outputs[0]
    if source is None:
        return False
    if target.is_graph_output():
        if source.producer() is None or source.is_graph_output():
            return False
        source.name, source.shape, source.type = target.name, target.shape, target.type
    ir.convenience.replace_all_uses_with(target, source, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return True


def replace(graph: ir.Graph, node: ir.Node, replacement: Sequence[ir.Node]) -> None:
    """Replaces a node by ``replacement``, whose last node produces the output. The output keeps its
    name, unless it was named after the old node.
    """
    old, new = node.outputs[0], replacement[-1].outputs[0]
    name = replacement[-1].name if old.name == node.name and not old.is_graph_output() else old.name
    ir.convenience.replace_nodes_and_values(graph, node, [node], replacement, [old], [new])
    new.name = name


def drop_unused(graph: ir.Graph) -> None:
    """Removes nodes and initializers that no output depends on."""
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]


def names_in(graph: ir.Graph) -> set[str]:
    """All names of nodes and values in the graph."""
    taken = {str(value.name) for value in (*graph.inputs, *graph.initializers.values())}
    for node in graph.all_nodes():
        taken |= {str(node.name), *(str(value.name) for value in node.outputs)}
    return taken
