"""The INT8 form for TensorRT 8: weights are stored in float and followed by quantizers.

TensorRT 8 rejects int8 constants ("invalid weights type of Int8"). A weight must be FP32 followed
by a QuantizeLinear and a DequantizeLinear, which the builder folds. Its quantizer reproduces the
original codes: the FP32 product code · scale and its quotient by scale each have a relative error
of at most 2⁻²⁴, so the rounded number is within 127 · 2⁻²³ of the code. This also holds for
subnormal products, because a subnormal scale times an integer is exact.

Source: NVIDIA TensorRT 8.6 Developer Guide, "Explicit Quantization": weights as a constant, Q and
DQ with zero points of the scale's shape.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.artifact import Artifact
from edgekit.graph.edit import drop_unused, initializer, int_attribute
from edgekit.graph.io import constant, load, save

CODES = "/int8"  # suffix of a weight's name for its codes


def write_float_weights(artifact: Artifact, path: Path) -> Artifact:
    """Writes the same INT8 graph with each weight as FP32 → QuantizeLinear → DequantizeLinear.

    Args:
        artifact: an INT8 graph from ``edgekit.quantization``, with int8 weights.
        path: where to write the result, which is four times as large.

    Raises:
        BadNetwork: the file cannot be read, or the result is larger than 2 GB.
    """
    model = load(artifact.path)
    for node in list(model.graph):
        codes = constant(node.inputs[0]) if node.op_type == "DequantizeLinear" else None
        if codes is not None:
            _quantize_at_load(model.graph, node, codes.numpy())
    drop_unused(model.graph)
    return save(model, path, "int8", artifact)


def _quantize_at_load(graph: ir.Graph, dequantize: ir.Node, codes: np.ndarray) -> None:
    stored, scale, zero = dequantize.inputs
    numbers = constant(scale)
    assert stored is not None and numbers is not None
    name, axis = str(stored.name).removesuffix(CODES), int_attribute(dequantize, "axis", 1)
    shape = [1] * codes.ndim
    shape[axis] = -1
    weight = initializer(graph, name, codes.astype(np.float32) * numbers.numpy().reshape(shape))
    quantize = ir.node(
        "QuantizeLinear", [weight, scale, zero], {"axis": axis}, name=f"{name}/QuantizeLinear"
    )
    made = quantize.outputs[0]
    made.name, made.shape, made.type = quantize.name, stored.shape, stored.type
    graph.insert_before(dequantize, quantize)
    dequantize.replace_input_with(0, made)
