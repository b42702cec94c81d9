"""Measures the tensors of a graph on real images: the extremes of all, and the channel means of
layer inputs. The reductions run inside the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.graph.edit import int_attribute
from edgekit.graph.io import constant, load
from edgekit.graph.values import read_values, values_by_name
from edgekit.runtimes.base import several

LAYERS = ("Conv", "Gemm")


@dataclass(frozen=True)
class Extremes:
    """The lowest and highest number of a tensor. ``total`` is the largest sum of absolute values
    over the pixels of a channel, if a global pooling reads the tensor.
    """

    low: float
    high: float
    total: float = 0.0

    @property
    def magnitude(self) -> float:
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Observation:
    """By value name: the extremes of every float value, and the channel means ``(C,)`` of the
    inputs of layers with weights.
    """

    extremes: Mapping[str, Extremes]
    means: Mapping[str, NDArray[np.float64]]


def observe(artifact: Artifact, images: NDArray[np.float32]) -> Observation:
    """Runs an FP32 graph on images ``(N, …)``."""
    model = load(artifact.path)
    graph = model.graph
    watched = [
        value for value in values_by_name(graph).values() if value.dtype == ir.DataType.FLOAT
    ]
    pooled = {
        v for n in graph if n.op_type == "GlobalAveragePool" for v in n.inputs[:1] if v is not None
    }
    read = _read_by_layers(graph)
    wanted: list[ir.Value] = []
    for value in watched:
        wanted.append(_append(graph, value, "min", "ReduceMin", None))
        wanted.append(_append(graph, value, "max", "ReduceMax", None))
        if value in pooled and value.shape is not None:
            summed = _append(graph, value, "l1", "ReduceL1", list(range(2, len(value.shape))))
            wanted.append(_append(graph, summed, "max", "ReduceMax", None))
    wanted += [_append(graph, value, "mean", "ReduceMean", axes) for value, axes in read.items()]
    extremes: dict[str, Extremes] = {}
    sums: dict[str, NDArray[np.float64]] = {}
    names = [str(value.name) for value in wanted]
    turns = 0
    for numbers, _ in read_values(model, names, images, at_once=several()):
        turns += 1
        for name in (str(value.name) for value in watched):
            total = float(numbers.get(f"{name}|l1|max", np.zeros(())))
            seen = Extremes(float(numbers[f"{name}|min"]), float(numbers[f"{name}|max"]), total)
            extremes[name] = _join(extremes[name], seen) if name in extremes else seen
        for name in (str(value.name) for value in read):
            mean = numbers[f"{name}|mean"].astype(np.float64)
            sums[name] = sums.get(name, np.zeros(())) + mean
    return Observation(extremes, {name: total / turns for name, total in sums.items()})


def _read_by_layers(graph: ir.Graph) -> dict[ir.Value, list[int]]:
    """The inputs of layers with constant weights, and the axes to average for a channel mean."""
    found: dict[ir.Value, list[int]] = {}
    for node in graph:
        weight = constant(node.inputs[1]) if node.op_type in LAYERS else None
        if (
            weight is not None
            and node.inputs[0] is not None
            and not int_attribute(node, "transA", 0)
        ):
            found[node.inputs[0]] = [0, *range(2, len(weight.shape))]
    return found


def _append(
    graph: ir.Graph, value: ir.Value, suffix: str, op_type: str, axes: list[int] | None
) -> ir.Value:
    """Adds a reduction of ``value`` to the graph, next to it, named ``value|suffix``."""
    attributes: dict[str, int | list[int]] = {"keepdims": 0}
    inputs: list[ir.Value | None] = [value]
    if axes is not None and graph.opset_imports[""] < 18:
        attributes["axes"] = axes
    elif axes is not None:
        given = ir.Value(
            name=f"{value.name}|{suffix}|axes", const_value=ir.tensor(np.array(axes, np.int64))
        )
        graph.register_initializer(given)
        inputs.append(given)
    node = ir.node(op_type, inputs, attributes, name=f"{value.name}|{suffix}")
    output = node.outputs[0]
    output.name, output.type = f"{value.name}|{suffix}", ir.TensorType(ir.DataType.FLOAT)
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], node)
    else:
        graph.insert_after(producer, node)
    return output


def _join(a: Extremes, b: Extremes) -> Extremes:
    return Extremes(min(a.low, b.low), max(a.high, b.high), max(a.total, b.total))
