"""Writes the int8 graph: explicit QuantizeLinear/DequantizeLinear pairs, weights stored as int8,
biases in float.

The graph uses only features that every runtime supports: int8 with zero point 0, one FP32 scale per
activation and one per output channel of a weight, opset 13 or newer. Every zero point is explicit
and has the shape of the scale, because the ONNX parser of TensorRT 8 requires three inputs. A
centred grid becomes symmetric: the producer's bias is lowered by 128 steps, and the consumers'
biases are raised to compensate. The ReLU or ReLU6 between them is removed, because the int8 range
starts at 0 and ends before 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgekit.graph.alignment import record
from edgekit.graph.edit import drop_unused, float_attribute, initializer, names_in
from edgekit.graph.forms.float_weights import CODES
from edgekit.graph.io import constant
from edgekit.quantization.layers import Layer
from edgekit.quantization.placement import Placement
from edgekit.quantization.rounding import QuantizedWeight
from edgekit.quantization.twin import QMIN, Grid

ZERO_POINT = "zero_point"


def write_graph(
    model: ir.Model,
    placement: Placement,
    grids: Mapping[str, Grid],
    weights: Mapping[str, QuantizedWeight],
    biases: Mapping[str, NDArray[np.float32]],
) -> ir.Model:
    """Returns a new int8 graph; ``model`` does not change.

    Args:
        model: the float graph of ``placement``.
        placement: the quantized values and layers.
        grids: the grid of every value in ``placement.edges``.
        weights: the quantized weight of every int8 layer, by layer name.
        biases: the corrected biases, by layer name.
    """
    model = ir.from_proto(ir.to_proto(model))
    graph = model.graph
    nodes = {str(node.name): node for node in graph}
    layers = {layer.name: layer for layer in placement.layers}
    bias = {
        name: _bias(graph, layer)
        for name, layer in layers.items()
        if layer.bias is None or layer.bias in graph.initializers
    }
    bias |= {
        layer.name: biases[layer.name].astype(np.float64)
        for layer in placement.quantized
        if layer.name in biases
    }
    sources = {
        str(value.name): value
        for value in (*graph.inputs, *(v for node in graph for v in node.outputs))
    }
    readers = {
        value: [edge for edge, read in placement.edges.items() if read == value]
        for value in placement.values
    }
    for name in placement.values:
        if grids[name].centred:
            sources[name] = _centre(name, grids[name], nodes, layers, readers[name], weights, bias)
            record(model, (name, str(sources[name].name)), shift=-QMIN * grids[name].scale)
        else:
            sources[name] = _plain_relu(graph, sources[name], grids[name], len(readers[name]))
    constants = _Constants(graph, names_in(graph))
    zero = constants.add(ZERO_POINT, np.zeros((), np.int8))
    for name in placement.values:
        pair = _pair(constants, name, sources[name], grids[name], zero)
        for node_name, position in readers[name]:
            nodes[node_name].replace_input_with(position, pair)
    for layer in placement.quantized:
        _store_weight(constants, nodes[layer.name], layer, weights[layer.name])
    for name in bias:
        _store_bias(constants, nodes[name], layers[name], bias[name])
    drop_unused(graph)
    graph.sort()
    return model


def centrable(model: ir.Model, placement: Placement, value: str) -> bool:
    """Whether a value may have a centred grid: a ReLU or a Clip from zero after a layer, read only
    by int8 layers without padding.

    Padding inserts the code 0, which is the middle of a centred grid and not the number 0.
    """
    layers = {layer.name: layer for layer in placement.layers}
    source = next((v for node in model.graph for v in node.outputs if v.name == value), None)
    activation = _from_zero(source)
    if source is None or activation is None or source.is_graph_output():
        return False
    inner = activation.source
    made_by = inner.producer()
    if (
        made_by is None
        or made_by.name not in layers
        or not _takes_a_bias(made_by)
        or len(inner.uses()) != 1
        or inner.is_graph_output()
    ):
        return False
    for use in source.uses():
        layer = layers.get(str(use.node.name))
        if (
            layer is None
            or layer.reason is not None
            or layer.padded
            or (layer.name, use.idx) not in placement.edges
        ):
            return False
    return True


def _takes_a_bias(node: ir.Node) -> bool:
    """Whether a constant can be added to the bias of a layer, and so to its output."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    is_constant = bias is None or constant(bias) is not None
    return is_constant and float_attribute(node, "beta", 1.0) == 1.0


def widest_step(model: ir.Model, value: str, grid: Grid) -> float:
    """The largest allowed step of a value's grid. If the grid ends before the bound of the
    activation, it must stay so; else the step has no limit.
    """
    activation = _from_zero(
        next((v for node in model.graph for v in node.outputs if v.name == value), None)
    )
    if (
        activation is None
        or not np.isfinite(activation.bound)
        or not _ends_at_last_code(activation, grid)
    ):
        return np.inf
    return (
        activation.bound / (grid.codes[1] - 0.5) * (1 - float(np.finfo(np.float32).eps))
    )  # so that rounding to float32 does not exceed it


class _Activation(NamedTuple):
    """A ReLU with the upper limit ``bound``: the lowest of its channels, infinite if none."""

    source: ir.Value
    bound: float


def _from_zero(value: ir.Value | None) -> _Activation | None:
    """The activation that produces a value: a ReLU, a Clip from zero, or a ReLU and a Min with
    constant bounds. None for any other node.
    """
    node = value.producer() if value is not None else None
    if node is None or not node.inputs or (source := node.inputs[0]) is None:
        return None
    if node.op_type == "Relu":
        return _Activation(source, np.inf)
    other = [constant(v) for v in node.inputs[1:]]
    if node.op_type == "Clip" and other and other[0] is not None and float(other[0].numpy()) == 0.0:
        high = other[1] if len(other) > 1 else None
        return _Activation(source, np.inf if high is None else float(high.numpy()))
    relu, bounds = (
        source.producer(),
        other[0] if node.op_type == "Min" and len(other) == 1 else None,
    )
    if (
        bounds is None
        or relu is None
        or relu.op_type != "Relu"
        or relu.inputs[0] is None
        or len(source.uses()) != 1
        or source.is_graph_output()
    ):
        return None
    return _Activation(relu.inputs[0], float(bounds.numpy().min()))


def _ends_at_last_code(activation: _Activation, grid: Grid) -> bool:
    """Whether every number above the activation's bound gets the last code of the grid."""
    return grid.high - grid.scale / 2 <= activation.bound


def _centre(
    name: str,
    grid: Grid,
    nodes: Mapping[str, ir.Node],
    layers: Mapping[str, Layer],
    readers: list[tuple[str, int]],
    weights: Mapping[str, QuantizedWeight],
    bias: dict[str, NDArray[np.float64]],
) -> ir.Value:
    """Moves the middle of a grid to zero by changing the biases around it. Returns the value before
    the activation.
    """
    shift = -QMIN * grid.scale
    activation = _from_zero(
        next(value for node in nodes.values() for value in node.outputs if value.name == name)
    )
    assert activation is not None and _ends_at_last_code(activation, grid), name
    producer = activation.source.producer()
    assert producer is not None
    bias[str(producer.name)] = bias[str(producer.name)] - shift
    for reader, _ in readers:
        weight = weights[reader].dequantized().astype(np.float64)
        sums = (
            np.moveaxis(weight, layers[reader].channel_axis, 0)
            .reshape(weight.shape[layers[reader].channel_axis], -1)
            .sum(1)
        )
        bias[reader] = bias[reader] + shift * sums
    return activation.source


def _plain_relu(graph: ir.Graph, value: ir.Value, grid: Grid, readers: int) -> ir.Value:
    """Replaces a bounded ReLU by a plain ReLU if the grid ends before the bound. More int8 kernels
    can fuse a plain ReLU.
    """
    node, activation = value.producer(), _from_zero(value)
    if (
        node is None
        or activation is None
        or not np.isfinite(activation.bound)
        or len(value.uses()) != readers
        or value.is_graph_output()
    ):
        return value
    if not _ends_at_last_code(activation, grid):
        return value
    relu = ir.node("Relu", [activation.source], name=str(node.name))
    relu.outputs[0].name, relu.outputs[0].shape, relu.outputs[0].type = (
        value.name,
        value.shape,
        value.type,
    )
    ir.convenience.replace_nodes_and_values(graph, node, [node], [relu], [value], [relu.outputs[0]])
    return relu.outputs[0]


@dataclass(frozen=True)
class _Constants:
    """Adds constants to a graph. The names are collected once, because there are many."""

    graph: ir.Graph
    taken: set[str]

    def add(self, name: str, array: NDArray[Any]) -> ir.Value:
        return initializer(self.graph, name, array, self.taken)


def _pair(
    constants: _Constants, name: str, source: ir.Value, grid: Grid, zero: ir.Value
) -> ir.Value:
    scale = constants.add(f"{name}/scale", np.array(grid.scale, np.float32))
    quantize = ir.node("QuantizeLinear", [source, scale, zero], name=f"{name}/QuantizeLinear")
    dequantize = ir.node(
        "DequantizeLinear", [quantize.outputs[0], scale, zero], name=f"{name}/DequantizeLinear"
    )
    for node, dtype in ((quantize, ir.DataType.INT8), (dequantize, ir.DataType.FLOAT)):
        node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = (
            node.name,
            source.shape,
            ir.TensorType(dtype),
        )
    constants.graph.extend([quantize, dequantize])
    return dequantize.outputs[0]


def _store_weight(
    constants: _Constants, node: ir.Node, layer: Layer, weight: QuantizedWeight
) -> None:
    stored = constants.add(f"{layer.weight}{CODES}", weight.values)
    scales = constants.add(f"{layer.weight}/scale", weight.scales)
    zeros = constants.add(f"{layer.weight}/zero_point", np.zeros(weight.scales.shape, np.int8))
    dequantize = ir.node(
        "DequantizeLinear",
        [stored, scales, zeros],
        {"axis": layer.channel_axis},
        name=f"{layer.weight}/DequantizeLinear",
    )
    value = dequantize.outputs[0]
    value.name, value.shape, value.type = (
        dequantize.name,
        ir.Shape(weight.values.shape),
        ir.TensorType(ir.DataType.FLOAT),
    )
    constants.graph.append(dequantize)
    node.replace_input_with(1, value)
    if layer.op_type in (
        "Conv",
        "ConvTranspose",
    ):  # without this attribute TensorRT 8 assumes a 1 x 1 kernel
        node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", weight.values.shape[2:])


def _bias(graph: ir.Graph, layer: Layer) -> NDArray[np.float64]:
    if layer.bias is not None:
        tensor = constant(graph.initializers[layer.bias])
        assert tensor is not None
        return np.asarray(tensor.numpy().astype(np.float64))
    tensor = constant(graph.initializers[layer.weight])
    assert tensor is not None
    groups = layer.groups if layer.op_type == "ConvTranspose" else 1
    return np.zeros(int(tensor.shape[layer.channel_axis]) * groups)  # type: ignore[arg-type]


def _store_bias(
    constants: _Constants, node: ir.Node, layer: Layer, bias: NDArray[np.float64]
) -> None:
    if layer.bias is None and not bias.any():
        return
    if layer.op_type == "MatMul":
        _add_behind(constants, node, bias)
        return
    stored = constants.add(f"{layer.name}/bias", bias.astype(np.float32))
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, stored)


def _add_behind(constants: _Constants, node: ir.Node, bias: NDArray[np.float64]) -> None:
    """Appends the bias of a MatMul as an Add, which every runtime fuses."""
    old = node.outputs[0]
    add = ir.node(
        "Add",
        [None, constants.add(f"{node.name}/bias", bias.astype(np.float32))],
        name=f"{node.name}/Add",
    )
    new = add.outputs[0]
    new.shape, new.type, new.name = old.shape, old.type, old.name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    old.name = f"{node.name}/product"
    add.replace_input_with(0, old)
    constants.graph.insert_after(node, add)
