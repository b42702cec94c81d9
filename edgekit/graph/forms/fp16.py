"""Converts an FP32 graph to a typed FP16 graph. Nodes that would overflow or flush to zero in FP16
stay FP32.

The types are in the graph, so TensorRT's strongly typed networks and ONNX Runtime use the same
precision for every tensor.

Running this graph on a CPU proves nothing: ONNX Runtime's CPU provider computes FP16 nodes in FP32
and keeps the results in FP32, which hides an overflow on a GPU. So :func:`rounding_twin` writes the
same computation as an FP32 graph in which every FP16 tensor is rounded to FP16.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from edgekit.artifact import Artifact
from edgekit.errors import BadNetwork
from edgekit.graph.edit import float_attribute, int_attribute
from edgekit.graph.forms.fp16_risk import FP16_MAX, KeptNode, half_slots, nodes_to_keep
from edgekit.graph.forms.fp16_rounding import round_keeping_mean
from edgekit.graph.io import constant, load, opset_of, save
from edgekit.graph.observe import LAYERS, Observation


@dataclass(frozen=True)
class Fp16Config:
    """``keep_io``: inputs and outputs stay float32 and are cast inside. ``keep``: names of nodes
    that always stay FP32.
    """

    keep_io: bool = True
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fp16Result:
    artifact: Artifact
    kept: tuple[KeptNode, ...]


def to_fp16(artifact: Artifact, path: Path, config: Fp16Config, seen: Observation) -> Fp16Result:
    """Writes the FP16 graph.

    Args:
        artifact: an FP32 graph.
        path: where to write the result.
        config: the nodes that stay FP32 by choice.
        seen: the statistics of the graph on real images, from
            :func:`edgekit.graph.observe.observe`.

    Raises:
        BadNetwork: the graph has a value without a type, or no node has a name in ``config.keep``.
    """
    model = load(artifact.path)
    prepare(model, config.keep)
    kept = nodes_to_keep(model, config.keep, seen.extremes)
    retype(model, {node.name for node in kept}, seen.means, keep_io=config.keep_io)
    return Fp16Result(save(model, path, "fp16", artifact), kept)


def prepare(model: ir.Model, keep: Collection[str]) -> None:
    """Converts Constant nodes to initializers, so that they can be rounded, and checks the graph.

    Raises:
        BadNetwork: as :func:`to_fp16`.
    """
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    names = {str(node.name) for node in model.graph}
    missing = next((name for name in keep if name not in names), None)
    if missing is not None:
        raise BadNetwork(
            f"no node is called {missing}",
            hint="nodes are named after their modules, for example features.0.0/Conv",
        )
    for node in model.graph:
        untyped = next(
            (
                value
                for value in node.outputs
                if value.dtype is None and (value.uses() or value.is_graph_output())
            ),
            None,
        )
        if untyped is not None:
            raise BadNetwork(
                f"the graph has no type for value {untyped.name} ({node.op_type}, {node.name})"
            )


def _round_weights(
    model: ir.Model, kept: Collection[str], means: Mapping[str, NDArray[np.float64]]
) -> None:
    """Rounds the weights of convolutions and linear layers so that channels keep their means.
    Shared weights are skipped.
    """
    for node in model.graph:
        if (
            node.op_type not in LAYERS
            or node.name in kept
            or node.inputs[0] is None
            or node.inputs[0].name not in means
        ):
            continue
        value, bias = node.inputs[1], constant(node.inputs[2]) if len(node.inputs) > 2 else None
        tensor = constant(value)
        if value is None or tensor is None or len(value.uses()) != 1 or _is_scaled(node):
            continue
        transposed = node.op_type == "Gemm" and not int_attribute(node, "transB", 0)
        weight = tensor.numpy().T if transposed else tensor.numpy()
        if bias is not None and bias.size != len(weight):
            continue
        rounded = round_keeping_mean(
            weight,
            None if bias is None else bias.numpy().ravel(),
            _mean_inputs(node, weight, means[str(node.inputs[0].name)]),
        )
        value.const_value = ir.tensor(
            np.ascontiguousarray(rounded.T if transposed else rounded), name=value.name
        )


def _is_scaled(node: ir.Node) -> bool:
    return any(float_attribute(node, name, 1.0) != 1.0 for name in ("alpha", "beta"))


def _mean_inputs(
    node: ir.Node, weight: NDArray[np.float32], mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The mean input of each weight ``(outputs, inputs of the group, …)``, in a shape that
    broadcasts to it.
    """
    if node.op_type == "Gemm":
        return mean[None, :]
    groups = len(mean) // weight.shape[1]
    by_group = mean.reshape(groups, weight.shape[1])
    per_output = np.repeat(by_group, len(weight) // groups, axis=0)
    return per_output.reshape(*per_output.shape, *(1,) * (weight.ndim - 2))


def retype(
    model: ir.Model,
    kept: Collection[str],
    means: Mapping[str, NDArray[np.float64]],
    *,
    keep_io: bool,
) -> None:
    """Converts all nodes to FP16 except those in ``kept``. Rounds weights with the ``means`` of
    their inputs, sets the type of every float value, and inserts a Cast where a node needs another
    type than the value has.
    """
    _round_weights(model, kept, means)
    graph, opset = model.graph, opset_of(model)
    casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
    if not keep_io:
        for given in graph.inputs:
            if given.dtype == ir.DataType.FLOAT:
                given.dtype = ir.DataType.FLOAT16
    for node in list(graph):
        if node.op_type == "Cast":
            _retype_cast(node, kept)
            continue
        half_inputs, half_outputs = (
            half_slots(node, opset) if node.name not in kept else (set(), set())
        )
        for i, value in enumerate(node.inputs):
            wanted = ir.DataType.FLOAT16 if i in half_inputs else ir.DataType.FLOAT
            if (
                value is not None
                and value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16)
                and value.dtype != wanted
            ):
                node.replace_input_with(i, _as_type(graph, node, value, wanted, casts))
        for i, output in enumerate(node.outputs):
            if i in half_outputs and output.dtype == ir.DataType.FLOAT:
                output.dtype = ir.DataType.FLOAT16
    _settle_outputs(graph, ir.DataType.FLOAT if keep_io else ir.DataType.FLOAT16)
    for name in [
        n for n, v in graph.initializers.items() if not v.uses() and not v.is_graph_output()
    ]:
        del graph.initializers[name]


def _retype_cast(node: ir.Node, kept: Collection[str]) -> None:
    """Changes a Cast to float, for example from integers, to a Cast to FP16."""
    output = node.outputs[0]
    if output.dtype == ir.DataType.FLOAT and node.name not in kept:
        output.dtype = ir.DataType.FLOAT16
        node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.FLOAT16))


def _as_type(
    graph: ir.Graph,
    user: ir.Node,
    value: ir.Value,
    dtype: ir.DataType,
    casts: dict[tuple[ir.Value, ir.DataType], ir.Value],
) -> ir.Value:
    if (value, dtype) not in casts:
        tensor = constant(value)
        suffix = "fp16" if dtype == ir.DataType.FLOAT16 else "fp32"
        if tensor is not None:
            converted = ir.Value(
                name=f"{value.name}|{suffix}", shape=value.shape, type=ir.TensorType(dtype)
            )
            numbers = (
                tensor.numpy().clip(-FP16_MAX, FP16_MAX)
                if dtype == ir.DataType.FLOAT16
                else tensor.numpy()
            )
            converted.const_value = ir.tensor(numbers.astype(dtype.numpy()), name=converted.name)
            graph.register_initializer(converted)
        else:
            cast = ir.node("Cast", [value], {"to": int(dtype)}, name=f"{value.name}|{suffix}")
            converted = cast.outputs[0]
            converted.name, converted.shape, converted.type = (
                cast.name,
                value.shape,
                ir.TensorType(dtype),
            )
            graph.insert_before(user, cast)
        casts[value, dtype] = converted
    return casts[value, dtype]


def _settle_outputs(graph: ir.Graph, dtype: ir.DataType) -> None:
    for i, value in enumerate(graph.outputs):
        if value.dtype in (dtype, None) or value.dtype not in (
            ir.DataType.FLOAT,
            ir.DataType.FLOAT16,
        ):
            continue
        name = value.name
        value.name = f"{name}|{'fp16' if value.dtype == ir.DataType.FLOAT16 else 'fp32'}"
        cast = ir.node("Cast", [value], {"to": int(dtype)}, name=f"{name}|cast")
        output = cast.outputs[0]
        output.name, output.shape, output.type = name, value.shape, ir.TensorType(dtype)
        graph.append(cast)
        graph.outputs[i] = output


def rounding_twin(artifact: Artifact, path: Path) -> Artifact:
    """Writes an FP32 graph that simulates an FP16 graph on a GPU with FP32 accumulators: every FP16
    tensor is rounded to FP16, and overflows to infinity.

    Inputs and outputs keep their dtypes.
    """
    model = load(artifact.path)
    graph = model.graph
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.FLOAT16:
            value.const_value = ir.tensor(tensor.numpy().astype(np.float32), name=value.name)
            value.dtype = ir.DataType.FLOAT
    for value in [value for value in graph.inputs if value.dtype == ir.DataType.FLOAT16]:
        _widen(graph, value)
    for node in list(graph):
        for value in node.outputs:
            if value.dtype == ir.DataType.FLOAT16 and node.op_type == "Cast":
                _widen(graph, value)
            elif value.dtype == ir.DataType.FLOAT16:
                value.dtype = ir.DataType.FLOAT
                if node.op_type not in _MOVERS or value.is_graph_output():
                    _round(graph, node, value)
    return save(model, path, artifact.precision, artifact)


# Operators that do not compute new numbers need no rounding.
_MOVERS = {
    "Reshape",
    "Transpose",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Slice",
    "Split",
    "Concat",
    "Identity",
    "Relu",
    "MaxPool",
    "Gather",
}


def _round(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Inserts casts so that all consumers read ``value`` rounded to FP16."""
    name = str(value.name)
    narrow = ir.node("Cast", [value], {"to": int(ir.DataType.FLOAT16)}, name=f"{name}|round")
    output = narrow.outputs[0]
    output.name, output.shape, output.type = (
        narrow.name,
        value.shape,
        ir.TensorType(ir.DataType.FLOAT16),
    )
    users = [use for use in value.uses() if use.node is not narrow]
    for use in users:
        use.node.replace_input_with(use.idx, output)
    graph.insert_after(node, narrow)
    if value.is_graph_output():
        value.name, output.name = narrow.name, name
        for i in [i for i, given in enumerate(graph.outputs) if given is value]:
            graph.outputs[i] = output
    _widen(graph, output)


def _widen(graph: ir.Graph, value: ir.Value) -> None:
    """Inserts a Cast so that all consumers read the FP16 ``value`` as FP32."""
    users = list(value.uses())
    if not users:
        return
    cast = ir.node("Cast", [value], {"to": int(ir.DataType.FLOAT)}, name=f"{value.name}|wide")
    output = cast.outputs[0]
    output.name, output.shape, output.type = (
        cast.name,
        value.shape,
        ir.TensorType(ir.DataType.FLOAT),
    )
    for use in users:
        use.node.replace_input_with(use.idx, output)
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], cast)
    else:
        graph.insert_after(producer, cast)
