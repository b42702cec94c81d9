"""Which nodes of an FP32 graph cannot be FP16, and why: judged by the operators' schemas, the
weights, and the ranges seen on real images.
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
HEADROOM = 4.0  # photos nobody calibrated on reach further than those seen
# rounding normal numbers to FP16 leaves about 73 dB; less means that weights flush
WEIGHT_SQNR_DB = 50.0

# Bounds beyond FP16's range bound nothing there either.
_BOUNDED = {"Clip", "Max", "Min", "Where"}

# Constants that are added to the result: what they flush is under the spacing of any result that is
# a normal number. A single number is often there to keep a divisor from zero, and must not become
# zero itself.
_ADDED = {
    "Conv": {2},
    "ConvTranspose": {2},
    "Gemm": {2},
    "Add": {0, 1},
    "Sub": {0, 1},
    "Sum": {0, 1},
}

# TensorRT's parser writes them in FP32 whatever their inputs are: squares and sums overflow early.
_FP32_IN_TENSORRT = frozenset(
    ("ReduceL2", "ReduceLogSum", "LpNormalization", "LpPool", "GlobalLpPool")
)


@dataclass(frozen=True)
class KeptNode:
    """A node that stays FP32, and why."""

    name: str
    op_type: str
    reason: str


def nodes_to_keep(
    model: ir.Model, asked: Collection[str], ranges: Mapping[str, Extremes]
) -> tuple[KeptNode, ...]:
    """The nodes that stay FP32: those asked for, those without an FP16 form, and those that would
    overflow or flush.
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
        return "asked for"
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
            return f"weights of magnitude {largest:.1e} flush"
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
    """Indices of the inputs and outputs that an operator's schema allows to be FP16; the others
    (scales of a Resize, say) stay float.

    An output counts where it takes its type from an input; those that take it from an attribute do
    not follow.
    """
    if node.domain or not defs.has(node.op_type, opset):
        return set(), set()
    inputs, outputs, last_input, last_output = _schema_slots(node.op_type, opset)
    taken = {i for i in range(len(node.inputs)) if min(i, last_input) in inputs}
    return taken, {i for i in range(len(node.outputs)) if min(i, last_output) in outputs}


@cache
def _schema_slots(op_type: str, opset: int) -> tuple[frozenset[int], frozenset[int], int, int]:
    """Parameters that may be FP16, and the last index of each list, which a variadic one
    repeats.
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
