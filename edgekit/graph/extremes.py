"""The smallest and largest value that each tensor of a graph takes on real images, reduced inside the graph."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.graph.io import load, save
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime


@dataclass(frozen=True)
class Extremes:
    """``low`` and ``high`` of a tensor, and ``total``, the largest sum of absolute values over height and width (0 for tensors that are not images)."""

    low: float
    high: float
    total: float = 0.0

    @property
    def magnitude(self) -> float:
        return max(abs(self.low), abs(self.high))


def extremes(artifact: Artifact, batches: Iterable[NDArray[np.float32]]) -> dict[str, Extremes]:
    """Runs an FP32 graph on batches of images, each as the graph wants it, and returns the extremes of every floating-point value by name."""
    model = load(artifact.path)
    watched = [v for v in (*model.graph.inputs, *(v for n in model.graph for v in n.outputs)) if v.dtype == ir.DataType.FLOAT and v.name]
    pooled = {v.name for n in model.graph if n.op_type == "GlobalAveragePool" for v in n.inputs[:1] if v is not None}
    for value in watched:
        _reduce(model.graph, value, "ReduceMin")
        _reduce(model.graph, value, "ReduceMax")
        if value.name in pooled:
            _sum_of_magnitudes(model.graph, value)
    found: dict[str, Extremes] = {}
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        probe = save(model, Path(folder) / "extremes.onnx", "fp32")
        with OnnxRuntime().load(probe, SessionOptions()) as session:
            for batch in batches:
                outputs = session.run({session.inputs[0].name: batch})
                for value in watched:
                    name = str(value.name)
                    seen = Extremes(
                        float(outputs[f"{name}|ReduceMin"]), float(outputs[f"{name}|ReduceMax"]), float(outputs.get(f"{name}|sum", np.zeros(())))
                    )
                    found[name] = _join(found[name], seen) if name in found else seen
    return found


def _reduce(graph: ir.Graph, value: ir.Value, op_type: str) -> None:
    node = ir.node(op_type, [value], {"keepdims": 0}, name=f"{value.name}|{op_type}")
    _expose(graph, node, f"{value.name}|{op_type}")


def _sum_of_magnitudes(graph: ir.Graph, value: ir.Value) -> None:
    summed = ir.node("ReduceL1", [value], {"keepdims": 0, "axes": [2, 3]}, name=f"{value.name}|L1")
    graph.append(summed)
    _expose(graph, ir.node("ReduceMax", [summed.outputs[0]], {"keepdims": 0}, name=f"{value.name}|sum"), f"{value.name}|sum")


def _expose(graph: ir.Graph, node: ir.Node, name: str) -> None:
    output = node.outputs[0]
    output.name, output.shape, output.type = name, ir.Shape([]), ir.TensorType(ir.DataType.FLOAT)
    graph.append(node)
    graph.outputs.append(output)


def _join(a: Extremes, b: Extremes) -> Extremes:
    return Extremes(min(a.low, b.low), max(a.high, b.high), max(a.total, b.total))
