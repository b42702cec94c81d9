"""Measures the tensors of a graph on real images: the extremes of all, and the channel means of
layer inputs. The reductions run inside the graph.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.graph.edit import int_attribute
from edgekit.graph.io import constant, load, save
from edgekit.runtimes.base import SessionOptions, batches
from edgekit.runtimes.onnxruntime import OnnxRuntime

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
        v
        for v in (*graph.inputs, *(v for n in graph for v in n.outputs))
        if v.dtype == ir.DataType.FLOAT and v.name
    ]
    pooled = {
        v for n in graph if n.op_type == "GlobalAveragePool" for v in n.inputs[:1] if v is not None
    }
    read = _read_by_layers(graph)
    for value in watched:
        _append(graph, value, "min", "ReduceMin", None)
        _append(graph, value, "max", "ReduceMax", None)
        if value in pooled and value.shape is not None:
            summed = _append(graph, value, "l1", "ReduceL1", list(range(2, len(value.shape))))
            _append(graph, summed, "max", "ReduceMax", None)
    for value, axes in read.items():
        _append(graph, value, "mean", "ReduceMean", axes)
    extremes: dict[str, Extremes] = {}
    sums: dict[str, NDArray[np.float64]] = {}
    turns = 0
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        probe = save(model, Path(folder) / "observe.onnx", "fp32")
        with OnnxRuntime().load(probe, SessionOptions()) as session:
            for batch, _ in batches(session.inputs[0], images):
                outputs = session.run({session.inputs[0].name: batch})
                turns += 1
                for value in watched:
                    name = str(value.name)
                    total = float(outputs.get(f"{name}|l1|max", np.zeros(())))
                    seen = Extremes(
                        float(outputs[f"{name}|min"]), float(outputs[f"{name}|max"]), total
                    )
                    extremes[name] = _join(extremes[name], seen) if name in extremes else seen
                for value in read:
                    name = str(value.name)
                    sums[name] = sums.get(name, np.zeros(())) + outputs[f"{name}|mean"].astype(
                        np.float64
                    )
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
    """Adds a reduction of ``value`` as an output of the graph, named ``value|suffix``."""
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
    graph.append(node)
    graph.outputs.append(output)
    return output


def _join(a: Extremes, b: Extremes) -> Extremes:
    return Extremes(min(a.low, b.low), max(a.high, b.high), max(a.total, b.total))
