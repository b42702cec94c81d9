"""Checks whether a graph can be quantized, before any work is done."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.errors import BadNetwork, BadWeights
from edgekit.graph.edit import initializer
from edgekit.graph.foreign import QUANTIZED
from edgekit.graph.io import constant, opset_of
from edgekit.quantization.layers import WEIGHTED

OLDEST_OPSET = 13  # per-channel DequantizeLinear


def check_graph(model: ir.Model) -> ir.Model:
    """Checks a float graph and returns it unchanged.

    Raises:
        BadNetwork: the graph is already quantized, has more than one input or output, a dynamic
            spatial size, an old opset or FP16 weights.
        BadWeights: a constant is NaN, or a weight infinite.
    """
    graph = model.graph
    for node in graph:
        if node.op_type in QUANTIZED:
            raise BadNetwork(
                f"the graph is already quantized ({node.name}, {node.op_type}); "
                f"{_what_is_wrong(node)}",
                hint="quantize the original FP32 graph",
            )
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise BadNetwork(
            f"a classifier has one input and one output; this graph has {len(graph.inputs)} and "
            f"{len(graph.outputs)}"
        )
    shape = graph.inputs[0].shape
    if (
        shape is None
        or len(shape) < 2
        or any(not isinstance(size, int) for size in list(shape)[1:])
    ):
        raise BadNetwork(
            f"int8 needs a fixed image size; the input {graph.inputs[0].name} is {shape}",
            hint="export with a fixed height and width",
        )
    if opset_of(model) < OLDEST_OPSET:
        raise BadNetwork(
            f"int8 needs opset {OLDEST_OPSET} or newer; this graph has opset {opset_of(model)}",
            hint="`edgekit export` converts it",
        )
    for value in graph.initializers.values():
        tensor = constant(value)
        if tensor is None:
            continue
        if tensor.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
            raise BadNetwork(f"{value.name} is {tensor.dtype}; quantization needs the FP32 graph")
        array = tensor.numpy()
        if array.dtype.kind != "f":
            continue
        # An infinite bound of a Clip, or the fill of a Pad, is no mistake.
        is_weight = any(use.node.op_type in WEIGHTED for use in value.uses())
        if np.isnan(array).any() or (is_weight and np.isinf(array).any()):
            raise BadWeights(
                f"{value.name} holds NaN or infinite numbers",
                hint="the training diverged, or the file is damaged: use another checkpoint",
            )
    return model


def separate_constants(model: ir.Model) -> None:
    """Copies shared weights and biases in place, so that each layer can change its own, and nothing
    else changes with it: exporters also share equal constants with a batch norm.
    """
    for value in list(model.graph.initializers.values()):
        uses = list(value.uses())
        by_layers = [use for use in uses if use.node.op_type in WEIGHTED and use.idx in (1, 2)]
        for use in by_layers[len(by_layers) == len(uses) :]:  # one may keep it if no other reads it
            tensor = constant(value)
            assert tensor is not None
            use.node.replace_input_with(
                use.idx, initializer(model.graph, str(value.name), tensor.numpy())
            )


def _what_is_wrong(node: ir.Node) -> str:
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if node.op_type == "QuantizeLinear" and zero is None:
        return "without a zero point its type is uint8"
    if zero is not None and zero.dtype == ir.DataType.UINT8:
        return "its type is uint8, which TensorRT reads as int8"
    if zero is not None and zero.numpy().any():
        return "its zero point is not zero, which TensorRT rejects"
    if (
        node.op_type == "DequantizeLinear"
        and node.inputs[0] is not None
        and node.inputs[0].dtype == ir.DataType.INT32
    ):
        return "it holds an int32 bias, which TensorRT rejects"
    return "its form is correct"
