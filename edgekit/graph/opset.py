"""Moves a graph to another opset without changing what it computes.

The exporter starts at 18; TensorRT 8.6 reads up to 17, TensorRT 10 up to 20, TensorRT 11 up to 22. Upwards onnx's own converter is used. Downwards most
operators only gained types or attributes: a node is kept where the older schema has everything it uses, rewritten where a rule below knows how, and
named in the error otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_ir as ir
from onnx import defs

from edgekit.errors import BadNetwork
from edgekit.graph.io import constant, opset_of

OLDEST = 13  # per-channel QuantizeLinear
NEWEST = 22  # TensorRT 11
DEFAULT = 17  # the newest that every TensorRT from 8.5 on reads

# The lowest IR version that may carry an opset: old runtimes refuse newer ones.
_IR_VERSIONS = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10}


def convert(model: ir.Model, target: int) -> ir.Model:
    """Returns the graph at opset ``target`` (13 … 22) with the lowest IR version that allows it.

    Raises:
        BadNetwork: an operator of the graph cannot be written at that opset.
    """
    if not OLDEST <= target <= NEWEST:
        raise BadNetwork(f"opset {target} is not supported", hint=f"choose {OLDEST} to {NEWEST}")
    source = opset_of(model)
    if source < target:
        model = _upgrade(model, target)
    elif source > target:
        _downgrade(model, target)
    model.ir_version = _IR_VERSIONS[target]
    return model


def _upgrade(model: ir.Model, target: int) -> ir.Model:
    proto = ir.to_proto(model)
    proto.ir_version = max(proto.ir_version, 4)
    try:
        return ir.from_proto(onnx.version_converter.convert_version(proto, target))
    except Exception as error:  # noqa: BLE001 - the converter raises bare RuntimeErrors and its own classes
        raise BadNetwork(f"the graph cannot be raised to opset {target}: {str(error).strip().partition(chr(10))[0]}") from error


def _downgrade(model: ir.Model, target: int) -> None:
    source = opset_of(model)
    for node in list(model.graph):
        if node.domain:
            continue
        if not defs.has(node.op_type, target):
            raise _cannot(node, target, f"{node.op_type} is younger than opset {target}")
        newer, older = (defs.get_schema(node.op_type, version) for version in (source, target))
        if newer.since_version == older.since_version:
            continue
        rule = _RULES.get(node.op_type)
        if rule is not None:
            rule(model.graph, node, target)
        _drop_default_attributes(node, newer, older)
        _check_fits(node, older, target)
    model.opset_imports[""] = target


def _drop_default_attributes(node: ir.Node, newer: defs.OpSchema, older: defs.OpSchema) -> None:
    for name in [n for n in node.attributes if n not in older.attributes]:
        default = newer.attributes[name].default_value
        if default.name and onnx.helper.get_attribute_value(default) == _plain(node.attributes[name]):
            del node.attributes[name]


def _plain(attribute: ir.Attr) -> object:
    value = attribute.value
    return value.encode() if isinstance(value, str) else value


def _check_fits(node: ir.Node, schema: defs.OpSchema, target: int) -> None:
    unknown = [name for name in node.attributes if name not in schema.attributes]
    if unknown:
        raise _cannot(node, target, f"its attribute {unknown[0]} is younger")
    while node.inputs and node.inputs[-1] is None:
        node.resize_inputs(len(node.inputs) - 1)
    if len(node.inputs) > schema.max_input:
        raise _cannot(node, target, f"it has {len(node.inputs)} inputs, there at most {schema.max_input}")


def _cannot(node: ir.Node, target: int, why: str) -> BadNetwork:
    return BadNetwork(f"{node.name} ({node.op_type}) cannot be written at opset {target}: {why}", hint="choose a higher --opset")


def _axes_to_attribute(graph: ir.Graph, node: ir.Node, target: int) -> None:
    """Reductions took their axes as an attribute before opset 18 (ReduceSum before 13)."""
    if target >= 18 or len(node.inputs) < 2:
        return
    axes = constant(node.inputs[1])
    if axes is None:
        raise _cannot(node, target, "its axes are computed")
    node.attributes["axes"] = ir.AttrInt64s("axes", [int(axis) for axis in axes.numpy().ravel()])
    node.resize_inputs(1)


def _split_sizes(graph: ir.Graph, node: ir.Node, target: int) -> None:
    """Split without sizes means equal parts; ``num_outputs`` is new in 18."""
    if target >= 18 or "num_outputs" not in node.attributes:
        return
    parts = node.attributes.pop("num_outputs").as_int()
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    size = node.inputs[0].shape[axis] if node.inputs[0] is not None and node.inputs[0].shape is not None else None
    if not isinstance(size, int) or size % parts:
        raise _cannot(node, target, f"{parts} parts of {size} are not equal")


def _pad_axes(graph: ir.Graph, node: ir.Node, target: int) -> None:
    if target >= 18 or len(node.inputs) < 4 or node.inputs[3] is None:
        return
    raise _cannot(node, target, "it pads chosen axes")


_RULES: dict[str, Callable[[ir.Graph, ir.Node, int], None]] = {
    **dict.fromkeys(
        (
            "ReduceMean",
            "ReduceMax",
            "ReduceMin",
            "ReduceProd",
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceSumSquare",
        ),
        _axes_to_attribute,
    ),
    "Split": _split_sizes,
    "Pad": _pad_axes,
}
