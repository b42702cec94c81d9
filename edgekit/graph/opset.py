"""Converts a graph to another opset without changing its function.

The exporter starts at 18; TensorRT 8.6 reads up to 17, TensorRT 10 up to 20, TensorRT 11 up to 22.
Upgrades use onnx's converter. For downgrades, a node stays if the older schema has everything it
uses; else a rule below rewrites it, or an error names it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
from onnx import defs

from edgekit.errors import BadNetwork
from edgekit.graph.edit import initializer, int_attribute
from edgekit.graph.io import constant, opset_of
from edgekit.graph.simplification import decompose

OLDEST = 13  # per-channel QuantizeLinear
NEWEST = 22  # TensorRT 11
DEFAULT = 17  # the newest opset that TensorRT 8.6 and newer read

# The lowest IR version for each opset; old runtimes reject newer IR versions.
_IR_VERSIONS = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10}


def convert(model: ir.Model, target: int) -> ir.Model:
    """Returns the graph at opset ``target`` (13 … 22) with the lowest IR version that allows it.

    Raises:
        BadNetwork: an operator of the graph cannot be written at that opset, or the graph has
            branches or loops.
    """
    if not OLDEST <= target <= NEWEST:
        raise BadNetwork(f"opset {target} is not supported", hint=f"choose {OLDEST} to {NEWEST}")
    _check_straight(model)
    source = opset_of(model)
    if source < target:
        model = _upgrade(model, target)
    elif source > target:
        _downgrade(model, target)
    model.ir_version = _IR_VERSIONS[target]
    return model


def _check_straight(model: ir.Model) -> None:
    branching = {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS}
    for node in model.graph:
        if any(attribute.type in branching for attribute in node.attributes.values()):
            raise BadNetwork(
                f"{node.name or node.op_type} ({node.op_type}) is control flow; edgekit supports "
                f"only graphs without branches and loops",
                hint="export the network in evaluation mode and with fixed shapes",
            )


def _upgrade(model: ir.Model, target: int) -> ir.Model:
    proto = ir.to_proto(model)
    proto.ir_version = max(proto.ir_version, 4)
    try:
        return ir.from_proto(onnx.version_converter.convert_version(proto, target))
    except Exception as error:
        raise BadNetwork(
            f"the graph cannot be upgraded to opset {target}: "
            f"{str(error).strip().partition(chr(10))[0]}"
        ) from error


def _downgrade(model: ir.Model, target: int) -> None:
    source = opset_of(model)
    for node in list(model.graph):
        if node.domain:
            continue
        if not defs.has(node.op_type, target):
            if node.op_type not in _SUBSTITUTES:
                raise _cannot(node, target, f"{node.op_type} is newer")
            _SUBSTITUTES[node.op_type](model.graph, node)
            continue
        newer, older = (defs.get_schema(node.op_type, version) for version in (source, target))
        if newer.since_version == older.since_version:
            continue
        rule = _RULES.get(node.op_type)
        if rule is not None:
            rule(model.graph, node, target)
        if node.graph is None:  # the rule replaced the node
            continue
        _drop_default_attributes(node, newer, older)
        _check_fits(node, older, target)
    model.opset_imports[""] = target


def _drop_default_attributes(node: ir.Node, newer: defs.OpSchema, older: defs.OpSchema) -> None:
    for name in [n for n in node.attributes if n not in older.attributes]:
        default = newer.attributes[name].default_value
        if default.name and onnx.helper.get_attribute_value(default) == _plain(
            node.attributes[name]
        ):
            del node.attributes[name]


def _plain(attribute: ir.Attr) -> object:
    value = attribute.value
    return value.encode() if isinstance(value, str) else value


def _check_fits(node: ir.Node, schema: defs.OpSchema, target: int) -> None:
    unknown = [name for name in node.attributes if name not in schema.attributes]
    if unknown:
        raise _cannot(node, target, f"its attribute {unknown[0]} is newer")
    while node.inputs and node.inputs[-1] is None:
        node.resize_inputs(len(node.inputs) - 1)
    if len(node.inputs) > schema.max_input:
        raise _cannot(
            node,
            target,
            f"it has {len(node.inputs)} inputs, but at most {schema.max_input} are allowed",
        )


def _cannot(node: ir.Node, target: int, why: str) -> BadNetwork:
    return BadNetwork(
        f"{node.name} ({node.op_type}) cannot be written at opset {target}: {why}",
        hint="choose a higher `opset`",
    )


def _axes_to_attribute(graph: ir.Graph, node: ir.Node, target: int) -> None:
    """Before opset 18, the axes of a reduction are an attribute."""
    if target >= 18 or len(node.inputs) < 2 or node.inputs[1] is None:
        return
    axes = constant(node.inputs[1])
    if axes is None:
        raise _cannot(node, target, "its axes are computed")
    if axes.size:  # no axes means all axes, unless noop_with_empty_axes is set, which is also newer
        node.attributes["axes"] = ir.AttrInt64s(
            "axes", [int(axis) for axis in axes.numpy().ravel()]
        )
    node.resize_inputs(1)


def _split_sizes(graph: ir.Graph, node: ir.Node, target: int) -> None:
    """Split without sizes means equal parts; ``num_outputs`` is new in 18."""
    if target >= 18 or "num_outputs" not in node.attributes:
        return
    parts = node.attributes.pop("num_outputs").as_int()
    axis = int_attribute(node, "axis", 0)
    size = (
        node.inputs[0].shape[axis]
        if node.inputs[0] is not None and node.inputs[0].shape is not None
        else None
    )
    if not isinstance(size, int):
        raise _cannot(node, target, f"the size of its {parts} parts is unknown")
    if size % parts:  # the last part is smaller
        part = -(-size // parts)
        sizes = np.array([*[part] * (parts - 1), size - part * (parts - 1)], np.int64)
        node.resize_inputs(2)
        node.replace_input_with(1, initializer(graph, f"{node.name}.split", sizes))


def _pad_plainly(graph: ir.Graph, node: ir.Node, target: int) -> None:
    if target < 18 and len(node.inputs) > 3 and node.inputs[3] is not None:
        _pad_every_axis(graph, node, target)
    if target < 19 and "mode" in node.attributes and node.attributes["mode"].as_string() == "wrap":
        raise _cannot(node, target, "it wraps around")


def _pad_every_axis(graph: ir.Graph, node: ir.Node, target: int) -> None:
    """Pad has an axes input since opset 18; before, it needs amounts for all axes."""
    amounts, axes = (constant(node.inputs[i]) for i in (1, 3))
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    if amounts is None or axes is None or shape is None:
        raise _cannot(node, target, "it pads computed axes")
    rank, chosen = len(shape), axes.numpy().ravel()
    pads = np.zeros((2, rank), np.int64)
    pads[:, chosen % rank] = amounts.numpy().reshape(2, len(chosen))
    node.replace_input_with(1, initializer(graph, f"{node.name}.pads", pads.ravel()))
    node.resize_inputs(3)


def _resize_coordinates(graph: ir.Graph, node: ir.Node, target: int) -> None:
    mode = node.attributes.get("coordinate_transformation_mode")
    if target < 19 and mode is not None and mode.as_string() == "half_pixel_symmetric":
        raise _cannot(node, target, "its half_pixel_symmetric is newer")


def _undilated(graph: ir.Graph, node: ir.Node, target: int) -> None:
    """AveragePool has dilations since opset 19."""
    if (
        target < 19
        and "dilations" in node.attributes
        and all(d == 1 for d in node.attributes["dilations"].as_ints())
    ):
        del node.attributes["dilations"]


def _reshape_without_zeros(graph: ir.Graph, node: ir.Node, target: int) -> None:
    """``allowzero``, new in opset 14, only matters if the shape has a zero; else it is removed."""
    shape = constant(node.inputs[1])
    if target < 14 and shape is not None and shape.numpy().all():
        node.attributes.pop("allowzero", None)


def _meant_something_else(graph: ir.Graph, node: ir.Node, target: int) -> None:
    if target < _REDEFINED[node.op_type]:
        raise _cannot(node, target, "its modes had a different meaning")


def _group_norm(graph: ir.Graph, node: ir.Node, target: int) -> None:
    """GroupNormalization has one scale per channel since opset 21, one per group before."""
    if target < 21:
        decompose.group_normalization(graph, node)


_Rule = Callable[[ir.Graph, ir.Node, int], None]

_REDUCTIONS = (
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare",
)

# Operators whose modes were renamed in this opset.
_REDEFINED = {"GridSample": 20}

# For operators that exist in both versions.
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_REDUCTIONS, _axes_to_attribute),
    **dict.fromkeys(_REDEFINED, _meant_something_else),
    "GroupNormalization": _group_norm,
    "Split": _split_sizes,
    "Pad": _pad_plainly,
    "Resize": _resize_coordinates,
    "AveragePool": _undilated,
    "Reshape": _reshape_without_zeros,
}

# For operators that the older version lacks.
_SUBSTITUTES: dict[str, Callable[[ir.Graph, ir.Node], None]] = {
    "Gelu": decompose.gelu,
    "GroupNormalization": decompose.group_normalization,
    "HardSwish": decompose.hard_swish,
    "Mish": decompose.mish,
}
