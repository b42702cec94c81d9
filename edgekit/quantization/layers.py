"""Finds the convolutions and matrix products of a graph, and which of them have an INT8 kernel.

Source: the exclusions of NVIDIA Model Optimizer; all other layers have INT8 kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgekit.graph.io import constant

Array = NDArray[np.float64]
Shapes = Mapping[str, tuple[int, ...]]

WEIGHTED = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
MINIMUM_CHANNELS = 16
DEPTHWISE_MULTIPLE = 8
DEPTHWISE_KERNEL = 3
KEPT = "kept for accuracy"


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product with a constant weight.

    ``channel_axis`` is the weight's axis of output channels. ``macs`` are multiply-accumulates for
    one image. ``padded`` is whether some outputs do not see all taps of the kernel: at zero
    padding, or in a ConvTranspose. ``reason`` says why the layer stays float; None if it is int8.
    """

    name: str
    op_type: str
    input: str
    weight: str
    bias: str | None
    output: str
    channel_axis: int
    groups: int
    macs: int
    padded: bool
    reason: str | None = None


def find_layer(node: ir.Node, shapes: Shapes, kept: frozenset[str]) -> Layer | None:
    """The layer of a node, or None if the node is no convolution or product with a constant weight.
    Layers named in ``kept`` stay float.
    """
    if node.op_type not in WEIGHTED or len(node.inputs) < 2 or node.inputs[0] is None:
        return None
    weight, bias = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    tensor = constant(weight)
    if tensor is None or weight is None or constant(node.inputs[0]) is not None:
        return None
    shape = tensor.numpy().shape
    out_shape = shapes[str(node.outputs[0].name)]
    groups = node.attributes["group"].as_int() if "group" in node.attributes else 1
    if node.op_type == "Conv":
        axis, outputs, inputs, kernel = 0, shape[0], shape[1] * groups, shape[2:]
        macs = prod(shape[1:]) * prod(out_shape[1:])
    elif node.op_type == "ConvTranspose":
        axis, outputs, inputs, kernel = 1, shape[1] * groups, shape[0], shape[2:]
        macs = prod(shape[1:]) * prod(shapes[str(node.inputs[0].name)][1:])
    else:
        axis = (
            0
            if node.op_type == "Gemm"
            and "transB" in node.attributes
            and node.attributes["transB"].as_int()
            else len(shape) - 1
        )
        outputs, inputs, kernel = shape[axis], shape[1 - axis] if len(shape) == 2 else 0, ()
        macs = prod(shape) * prod(out_shape[1:-1])
    first = _is_first(node.inputs[0])
    reason = _why_float(node, groups, inputs, outputs, kernel, first=first)
    if bias is not None and constant(bias) is None:
        reason = "its bias is computed"
    if len(shapes[str(node.inputs[0].name)]) < 2:
        reason = "its input has no axis of channels"
    if node.name in kept:
        reason = KEPT
    pads = node.attributes["pads"].as_ints() if "pads" in node.attributes else ()
    mode = node.attributes["auto_pad"].as_string() if "auto_pad" in node.attributes else "NOTSET"
    padded = any(pads) or mode.startswith("SAME") or node.op_type == "ConvTranspose"
    return Layer(
        str(node.name),
        node.op_type,
        str(node.inputs[0].name),
        str(weight.name),
        None if bias is None else str(bias.name),
        str(node.outputs[0].name),
        axis,
        groups,
        macs,
        padded,
        reason,
    )


def _why_float(
    node: ir.Node, groups: int, inputs: int, outputs: int, kernel: Sequence[int], *, first: bool
) -> str | None:
    """Why a layer has no useful int8 kernel, or None."""
    if node.op_type == "ConvTranspose" and groups > 1:
        return "grouped transposed convolutions have no int8 kernel"
    if node.op_type in ("Gemm", "MatMul"):
        if len(node.inputs[1].shape or ()) != 2:  # type: ignore[union-attr]
            return "its weight is not a matrix"
        plain = all(
            node.attributes[name].as_float() == 1.0
            for name in ("alpha", "beta")
            if name in node.attributes
        )
        if not plain or ("transA" in node.attributes and node.attributes["transA"].as_int()):
            return "it scales or transposes its input"
    if groups > 1 and groups == inputs:
        if outputs % DEPTHWISE_MULTIPLE or min(kernel) < DEPTHWISE_KERNEL:
            return (
                f"depthwise int8 kernels need channels in multiples of {DEPTHWISE_MULTIPLE} and "
                f"a kernel of {DEPTHWISE_KERNEL} or more"
            )
        return None
    if outputs < MINIMUM_CHANNELS or (inputs < MINIMUM_CHANNELS and not first):
        return f"int8 kernels need {MINIMUM_CHANNELS} channels or more"
    return None


def _is_first(value: ir.Value | None) -> bool:
    """Whether no layer with weights lies between the image and a value: only a normalization, a
    padding, another order of its axes or channels.
    """
    waiting, seen = [value], set()
    while waiting:
        current = waiting.pop()
        producer = current.producer() if current is not None else None
        if producer is None or producer in seen:
            continue
        if producer.op_type in WEIGHTED:
            return False
        seen.add(producer)
        waiting += producer.inputs
    return True


def array_of(model: ir.Model, name: str) -> Array:
    """The constant ``name`` of the graph, in float64."""
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy().astype(np.float64)


def assign(model: ir.Model, name: str, array: Array) -> None:
    """Replaces the constant ``name`` of the graph, as float32."""
    model.graph.initializers[name].const_value = ir.tensor(array.astype(np.float32), name=name)
