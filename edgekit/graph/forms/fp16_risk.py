"""Finds the nodes of an FP32 graph that cannot be FP16, from the operator schemas, the weights, and
the ranges on real images.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import defs

from edgekit.comparison.metrics import sqnr
from edgekit.graph.edit import int_attribute
from edgekit.graph.io import constant, opset_of
from edgekit.graph.observe import Extremes

FP16_MAX = 65504.0
FP16_SMALLEST_NORMAL = 2.0**-14
HEADROOM = 4.0  # other photos may have larger values than the calibration photos
# rounding normal numbers to FP16 gives about 73 dB; less means that weights become zero
WEIGHT_SQNR_DB = 50.0

# Bounds beyond FP16's range have no effect in FP16, so they may be clipped.
_BOUNDED = {"Clip", "Max", "Min", "Where"}

# Constants that are added to the result: what they lose by flushing is smaller than the spacing of
# any normal result. A single number is an exception: it often keeps a divisor from being zero, and
# must not become zero.
_ADDED = {
    "Conv": {2},
    "ConvTranspose": {2},
    "Gemm": {2},
    "Add": {0, 1},
    "Sub": {0, 1},
    "Sum": {0, 1},
}

# TensorRT's parser always computes these in FP32, because squares and sums overflow early.
_FP32_IN_TENSORRT = frozenset(
    ("ReduceL2", "ReduceLogSum", "LpNormalization", "LpPool", "GlobalLpPool")
)


@dataclass(frozen=True)
class KeptNode:
    """A node that stays FP32, and the reason."""

    name: str
    op_type: str
    reason: str


def nodes_to_keep(
    model: ir.Model, asked: Collection[str], ranges: Mapping[str, Extremes]
) -> tuple[KeptNode, ...]:
    """The nodes that stay FP32: requested ones, those without an FP16 form, and those that would
    overflow or flush to zero.
    """
    opset = opset_of(model)
    reasons = ((node, _reason(node, opset, asked, ranges)) for node in model.graph)
    return tuple(
        KeptNode(str(node.name), node.op_type, reason) for node, reason in reasons if reason
    )


def _reason(
    node: ir.Node, opset: int, asked: Collection[str], ranges: Mapping[str, Extremes]
) -> str | None:
    if node.name in asked:
        return "requested"
    if node.op_type in _FP32_IN_TENSORRT and not node.domain:
        return "TensorRT computes it in FP32"
    inputs, outputs = half_slots(node, opset)
    if any(
        value.dtype == ir.DataType.FLOAT and i not in outputs
        for i, value in enumerate(node.outputs)
    ):
        return "the operator has no FP16 form"
    return _weights_at_risk(node, inputs) or _activations_at_risk(node, ranges)


def _weights_at_risk(node: ir.Node, slots: Collection[int]) -> str | None:
    for i in sorted(slots):
        tensor = constant(node.inputs[i])
        if tensor is None or tensor.dtype != ir.DataType.FLOAT:
            continue
        weights = tensor.numpy().astype(np.float64)
        if not np.isfinite(weights).all():
            continue
        largest = np.abs(weights).max(initial=0.0)
        if largest > FP16_MAX:
            if weights.size == 1 and node.op_type in _BOUNDED:
                continue
            return f"weight {largest:.3g} overflows"
        if (weights.size == 1 or i not in _ADDED.get(node.op_type, ())) and _rounding_sqnr(
            weights
        ) < WEIGHT_SQNR_DB:
            return f"weights of magnitude {largest:.1e} flush to zero"
    return None


def _rounding_sqnr(weights: NDArray[np.float64]) -> float:
    signal, noise = (weights**2).sum(), ((weights - weights.astype(np.float16)) ** 2).sum()
    return sqnr(float(signal), float(noise))


def _activations_at_risk(node: ir.Node, ranges: Mapping[str, Extremes]) -> str | None:
    for value in (*node.inputs, *node.outputs):
        seen = None if value is None else ranges.get(str(value.name))
        if value is None or seen is None:
            continue
        if not seen.magnitude * HEADROOM <= FP16_MAX:
            return f"{value.name} reaches {seen.magnitude:.3g}, near FP16's limit of 65504"
        if 0 < seen.magnitude < FP16_SMALLEST_NORMAL:
            return f"{value.name} stays under {seen.magnitude:.1e}, below FP16's normal numbers"
        if (
            value is node.inputs[0]
            and seen.total * HEADROOM > FP16_MAX
            and node.op_type == "GlobalAveragePool"
        ):
            return f"the sum over {value.name} reaches {seen.total:.3g}, near FP16's limit of 65504"
        if value is node.inputs[0] and node.op_type == "LRN":
            squares = seen.magnitude**2 * int_attribute(node, "size", 1)
            if squares * HEADROOM > FP16_MAX:
                return (
                    f"the squares of {value.name} add up to {squares:.3g}, near FP16's limit of "
                    f"65504"
                )
    return None


def half_slots(node: ir.Node, opset: int) -> tuple[set[int], set[int]]:
    """Indices of the inputs and outputs that may be FP16 by the operator's schema. Others, such as
    the scales of a Resize, stay float.

    An output is included only if its type follows from an input, not from an attribute.
    """
    if node.domain or not defs.has(node.op_type, opset):
        return set(), set()
    inputs, outputs, last_input, last_output = _schema_slots(node.op_type, opset)
    taken = {i for i in range(len(node.inputs)) if min(i, last_input) in inputs}
    return taken, {i for i in range(len(node.outputs)) if min(i, last_output) in outputs}


@cache
def _schema_slots(op_type: str, opset: int) -> tuple[frozenset[int], frozenset[int], int, int]:
    """The indices of inputs and outputs that may be FP16, and the last index of each list (a
    variadic parameter repeats it).
    """
    schema = defs.get_schema(op_type, opset)
    allowed = {
        c.type_param_str
        for c in schema.type_constraints
        if "tensor(float16)" in c.allowed_type_strs
    }
    given = {p.type_str for p in schema.inputs}
    inputs = frozenset(i for i, p in enumerate(schema.inputs) if p.type_str in allowed)
    outputs = frozenset(
        i
        for i, p in enumerate(schema.outputs)
        if p.type_str in allowed & given or (op_type == "Cast" and p.type_str in allowed)
    )
    return inputs, outputs, len(schema.inputs) - 1, len(schema.outputs) - 1
