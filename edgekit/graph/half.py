"""An FP32 graph to a typed FP16 graph, with FP32 islands where half precision would overflow or flush.

The types are in the graph, so that TensorRT's strongly typed networks and ONNX Runtime see one and the same precision for every tensor.

A CPU cannot prove such a graph by running it: ONNX Runtime's CPU provider computes FP16 nodes in FP32 and keeps their results there, so an overflow that a
GPU would meet stays hidden. :func:`rounding_twin` therefore writes the same computation as an FP32 graph in which every FP16 tensor is rounded to FP16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import defs

from edgekit.artifact import Artifact
from edgekit.graph.io import constant, load, opset_of, save
from edgekit.graph.observe import LAYERS, Extremes, Observation
from edgekit.graph.rounding import round_keeping_mean

FP16_MAX = 65504.0
FP16_SMALLEST_NORMAL = 2.0**-14
HEADROOM = 4.0  # photos nobody calibrated on reach further than those seen
WEIGHT_SQNR_DB = 50.0  # rounding normal numbers to FP16 leaves about 73 dB; less means that weights flush


@dataclass(frozen=True)
class HalfConfig:
    """``keep_io``: inputs and outputs stay float32, cast inside; ``keep``: names of nodes that stay FP32 whatever their range."""

    keep_io: bool = True
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeptNode:
    """A node that stays FP32, and why."""

    name: str
    op_type: str
    reason: str


@dataclass(frozen=True)
class HalfResult:
    artifact: Artifact
    kept: tuple[KeptNode, ...]


def halve(artifact: Artifact, path: Path, config: HalfConfig, seen: Observation) -> HalfResult:
    """Writes the FP16 graph.

    Args:
        artifact: an FP32 graph.
        path: where to write the result.
        config: what stays FP32 by choice.
        seen: what the graph's values do on real images, from :func:`edgekit.graph.observe.observe`.
    """
    model = load(artifact.path)
    kept = _nodes_to_keep(model, config, seen.extremes)
    _round_weights(model, {node.name for node in kept}, seen.means)
    _retype(model, {node.name for node in kept}, keep_io=config.keep_io)
    return HalfResult(save(model, path, "fp16", artifact), tuple(kept))


def _nodes_to_keep(model: ir.Model, config: HalfConfig, ranges: Mapping[str, Extremes]) -> list[KeptNode]:
    reasons: dict[str, str] = {}
    for node in model.graph:
        name = str(node.name)
        if name in config.keep:
            reasons[name] = "asked for"
        elif not _knows_half(node, opset_of(model)):
            if any(value.dtype == ir.DataType.FLOAT for value in node.outputs):
                reasons[name] = "the operator has no FP16 form"
        elif reason := _weights_at_risk(node):
            reasons[name] = reason
        elif reason := _activations_at_risk(node, ranges):
            reasons[name] = reason
    return [KeptNode(str(node.name), node.op_type, reasons[str(node.name)]) for node in model.graph if str(node.name) in reasons]


def _weights_at_risk(node: ir.Node) -> str | None:
    for value in node.inputs:
        tensor = constant(value)
        if tensor is None or tensor.dtype != ir.DataType.FLOAT:
            continue
        weights = tensor.numpy().astype(np.float64)
        if not np.isfinite(weights).all() or weights.size < 2:  # bounds of a Clip may be infinite, and single numbers carry no signal of their own
            continue
        if np.abs(weights).max(initial=0.0) > FP16_MAX:
            return f"weight {np.abs(weights).max():.3g} overflows"
        noise = ((weights - weights.astype(np.float16).astype(np.float64)) ** 2).sum()
        signal = (weights**2).sum()
        if noise > 0 and 10 * np.log10(signal / noise) < WEIGHT_SQNR_DB:
            return f"weights of magnitude {np.abs(weights).max():.1e} flush"
    return None


def _activations_at_risk(node: ir.Node, ranges: Mapping[str, Extremes]) -> str | None:
    for value in (*node.inputs, *node.outputs):
        seen = None if value is None else ranges.get(str(value.name))
        if value is None or seen is None:
            continue
        if seen.magnitude * HEADROOM > FP16_MAX:
            return f"{value.name} reaches {seen.magnitude:.3g}, near FP16's limit of 65504"
        if seen.total * HEADROOM > FP16_MAX and node.op_type == "GlobalAveragePool" and value is node.inputs[0]:
            return f"the sum over {value.name} reaches {seen.total:.3g}, near FP16's limit of 65504"
        if 0 < seen.magnitude < FP16_SMALLEST_NORMAL:
            return f"{value.name} stays under {seen.magnitude:.1e}, below FP16's normal numbers"
    return None


def _round_weights(model: ir.Model, kept: set[str | None], means: Mapping[str, NDArray[np.float64]]) -> None:
    """Rounds the weights of convolutions and linear layers, where one layer alone reads them, so that channels keep their means."""
    for node in model.graph:
        if node.op_type not in LAYERS or node.name in kept or node.inputs[0] is None or node.inputs[0].name not in means:
            continue
        value, bias = node.inputs[1], constant(node.inputs[2]) if len(node.inputs) > 2 else None
        tensor = constant(value)
        if value is None or tensor is None or len(value.uses()) != 1:
            continue
        weight, mean = tensor.numpy(), means[str(node.inputs[0].name)]
        transposed = node.op_type == "Gemm" and ("transB" not in node.attributes or node.attributes["transB"].as_int() == 0)
        per_output = weight.T if transposed else weight
        if bias is not None and bias.shape != (len(per_output),):
            continue
        rounded = round_keeping_mean(per_output, None if bias is None else bias.numpy(), _mean_inputs(node, per_output, mean))
        value.const_value = ir.tensor(np.ascontiguousarray(rounded.T if transposed else rounded), name=value.name)


def _mean_inputs(node: ir.Node, weight: NDArray[np.float32], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the channel that each weight of ``(outputs, inputs of the group, …)`` reads."""
    if node.op_type == "Gemm":
        return mean[None, :]
    groups = len(mean) // weight.shape[1]
    by_group = mean.reshape(groups, weight.shape[1])
    per_output = np.repeat(by_group, len(weight) // groups, axis=0)
    return per_output.reshape(*per_output.shape, *(1,) * (weight.ndim - 2))


def _retype(model: ir.Model, kept: set[str | None], *, keep_io: bool) -> None:
    """Gives every floating-point value its type and inserts one Cast where a node reads another type than the value has."""
    graph, opset = model.graph, opset_of(model)
    casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
    if not keep_io:
        for value in graph.inputs:
            if value.dtype == ir.DataType.FLOAT:
                value.dtype = ir.DataType.FLOAT16
    for node in list(graph):
        if node.op_type == "Cast":
            continue
        half_inputs, half_outputs = _half_slots(node, opset) if node.name not in kept else (set(), set())
        for i, value in enumerate(node.inputs):
            wanted = ir.DataType.FLOAT16 if i in half_inputs else ir.DataType.FLOAT
            if value is not None and value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16) and value.dtype != wanted:
                node.replace_input_with(i, _as_type(graph, node, value, wanted, casts))
        for i, value in enumerate(node.outputs):
            if i in half_outputs and value.dtype == ir.DataType.FLOAT:
                value.dtype = ir.DataType.FLOAT16
    _settle_outputs(graph, ir.DataType.FLOAT if keep_io else ir.DataType.FLOAT16)
    for name in [n for n, v in graph.initializers.items() if not v.uses() and not v.is_graph_output()]:
        del graph.initializers[name]


def _as_type(
    graph: ir.Graph, user: ir.Node, value: ir.Value, dtype: ir.DataType, casts: dict[tuple[ir.Value, ir.DataType], ir.Value]
) -> ir.Value:
    if (value, dtype) not in casts:
        tensor = constant(value)
        suffix = "fp16" if dtype == ir.DataType.FLOAT16 else "fp32"
        if tensor is not None:
            converted = ir.Value(name=f"{value.name}|{suffix}", shape=value.shape, type=ir.TensorType(dtype))
            numbers = tensor.numpy().clip(-FP16_MAX, FP16_MAX) if dtype == ir.DataType.FLOAT16 else tensor.numpy()
            converted.const_value = ir.tensor(numbers.astype(dtype.numpy()), name=converted.name)
            graph.register_initializer(converted)
        else:
            cast = ir.node("Cast", [value], {"to": int(dtype)}, name=f"{value.name}|{suffix}")
            converted = cast.outputs[0]
            converted.name, converted.shape, converted.type = cast.name, value.shape, ir.TensorType(dtype)
            graph.insert_before(user, cast)
        casts[value, dtype] = converted
    return casts[value, dtype]


def _settle_outputs(graph: ir.Graph, dtype: ir.DataType) -> None:
    for i, value in enumerate(graph.outputs):
        if value.dtype in (dtype, None) or value.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
            continue
        name = value.name
        value.name = f"{name}|{'fp16' if value.dtype == ir.DataType.FLOAT16 else 'fp32'}"
        cast = ir.node("Cast", [value], {"to": int(dtype)}, name=f"{name}|cast")
        output = cast.outputs[0]
        output.name, output.shape, output.type = name, value.shape, ir.TensorType(dtype)
        graph.append(cast)
        graph.outputs[i] = output


def _knows_half(node: ir.Node, opset: int) -> bool:
    return node.op_type == "Cast" or bool(_half_slots(node, opset)[1]) or not any(v.dtype == ir.DataType.FLOAT for v in node.outputs)


def _half_slots(node: ir.Node, opset: int) -> tuple[set[int], set[int]]:
    """Indices of the inputs and outputs that an operator's schema allows to be FP16; the others (scales of a Resize, say) stay float."""
    if node.domain or not defs.has(node.op_type, opset):
        return set(), set()
    inputs, outputs, variadic = _schema_slots(node.op_type, opset)
    taken = set(inputs) | (set(range(len(inputs), len(node.inputs))) if variadic else set())
    return {i for i in taken if i < len(node.inputs)}, {i for i in range(len(node.outputs)) if i in outputs or (variadic and outputs)}


@cache
def _schema_slots(op_type: str, opset: int) -> tuple[frozenset[int], frozenset[int], bool]:
    schema = defs.get_schema(op_type, opset)
    allowed = {c.type_param_str for c in schema.type_constraints if "tensor(float16)" in c.allowed_type_strs}
    inputs = frozenset(i for i, p in enumerate(schema.inputs) if p.type_str in allowed)
    outputs = frozenset(i for i, p in enumerate(schema.outputs) if p.type_str in allowed)
    variadic = bool(schema.inputs) and schema.inputs[-1].option == defs.OpSchema.FormalParameterOption.Variadic
    return inputs, outputs, variadic


def rounding_twin(artifact: Artifact, path: Path) -> Artifact:
    """An FP32 graph that computes what an FP16 graph computes on a GPU with FP32 accumulators: every FP16 tensor is rounded to FP16, and overflows to infinity.

    Outputs of the twin have the dtypes of the original's.
    """
    model = load(artifact.path)
    graph = model.graph
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.FLOAT16:
            value.const_value = ir.tensor(tensor.numpy().astype(np.float32), name=value.name)
            value.dtype = ir.DataType.FLOAT
    for node in list(graph):
        halves = [value for value in node.outputs if value.dtype == ir.DataType.FLOAT16]
        if node.op_type == "Cast":
            if halves and not halves[0].is_graph_output():
                _widen(graph, node, list(halves[0].uses()))
            continue
        for value in halves:
            value.dtype = ir.DataType.FLOAT
            if value.uses() and node.op_type not in _MOVERS:
                _round(graph, node, value)
    return save(model, path, "fp16", artifact)


# Operators that make no new numbers need no rounding.
_MOVERS = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Concat", "Identity", "Relu", "MaxPool", "Gather"}


def _round(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Everything behind ``value`` reads it rounded to FP16."""
    users = list(value.uses())
    narrow = ir.node("Cast", [value], {"to": int(ir.DataType.FLOAT16)}, name=f"{value.name}|round")
    output = narrow.outputs[0]
    output.name, output.shape, output.type = narrow.name, value.shape, ir.TensorType(ir.DataType.FLOAT16)
    graph.insert_after(node, narrow)
    _widen(graph, narrow, users)


def _widen(graph: ir.Graph, narrow: ir.Node, users: list[ir.Usage]) -> None:
    """``users`` read the FP16 output of ``narrow`` as FP32."""
    source = narrow.outputs[0]
    cast = ir.node("Cast", [source], {"to": int(ir.DataType.FLOAT)}, name=f"{source.name}|wide")
    output = cast.outputs[0]
    output.name, output.shape, output.type = cast.name, source.shape, ir.TensorType(ir.DataType.FLOAT)
    graph.insert_after(narrow, cast)
    for use in users:
        use.node.replace_input_with(use.idx, output)
