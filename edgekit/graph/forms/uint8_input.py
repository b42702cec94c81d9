"""Adds the normalization of a network to its graph, which then takes 8-bit pixels.

A Cast comes first. TensorRT allows 8-bit unsigned integers only as inputs and outputs of a network,
and only a conversion to FP32 or FP16 may read them (NvInferRuntimeBase.h, ``DataType::kUINT8``).
After it there are one product and one sum with a constant per channel for (pixel / 255 - mean) /
std, in FP32 in every precision of the graph. A first QuantizeLinear stays at its place.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.bundle.names import NORMALIZATION
from edgekit.graph.edit import initializer, names_in
from edgekit.graph.io import load, save
from edgekit.graph.names import unique
from edgekit.images.preprocess import InputSpec

_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def to_uint8_input(artifact: Artifact, path: Path, spec: InputSpec, pixels: InputSpec) -> Artifact:
    """Writes the graph with an input of 8-bit pixels. The input keeps its name.

    Args:
        artifact: a graph with one input, a normalized image in FP32 or FP16.
        path: the file to write.
        spec: the preprocessing of the graph.
        pixels: the same preprocessing with ``uint8``, in the layout and channel order of the new
            input.
    """
    model = load(artifact.path)
    graph, old = model.graph, model.graph.inputs[0]
    given_shape = old.shape
    assert given_shape is not None and old.dtype is not None
    batch = given_shape[0] if isinstance(given_shape[0], int) else given_shape[0].value
    given = ir.Value(
        name=old.name,
        shape=ir.Shape(pixels.shape(batch if isinstance(batch, int) else str(batch))),
        type=ir.TensorType(ir.DataType.UINT8),
    )
    old.name = unique(f"{old.name}/normalized", names_in(graph))
    chain = _Chain(graph, given)
    chain.add("Cast", {"to": ir.DataType.FLOAT})
    if pixels.layout != spec.layout:
        order = _TO_NCHW if spec.layout == "NCHW" else _TO_NHWC
        chain.add("Transpose", {"perm": order})
    channel = 1 if spec.layout == "NCHW" else 3
    if pixels.channel_order == "BGR":
        chain.add("Gather", {"axis": channel}, ("order", np.array([2, 1, 0], np.int64)))
    scale, shift = _constants(spec)
    shape = (1, -1, 1, 1) if spec.layout == "NCHW" else (1, 1, 1, -1)
    if not np.array_equal(scale, np.ones_like(scale)):
        chain.add("Mul", {}, ("scale", scale.reshape(shape)))
    if shift.any():
        chain.add("Add", {}, ("shift", shift.reshape(shape)))
    if old.dtype != ir.DataType.FLOAT:
        chain.add("Cast", {"to": old.dtype})
    first = next(iter(graph))
    graph.insert_before(first, chain.nodes)
    for use in list(old.uses()):
        use.node.replace_input_with(use.idx, chain.value)
    graph.inputs[0] = given
    chain.value.name = old.name
    return save(model, path, artifact.precision, artifact)


def arithmetic(artifact: Artifact) -> tuple[tuple[str, str], ...]:
    """The name and operator of the nodes that compute the normalization of a graph, in FP32."""
    return tuple(
        (str(node.name), node.op_type)
        for node in load(artifact.path).graph
        if normalizes_input(node) and node.op_type not in ("Cast", "Transpose")
    )


def normalizes_input(node: ir.Node | None) -> bool:
    """Whether a node was added by :func:`to_uint8_input`."""
    return node is not None and str(node.name).startswith(NORMALIZATION)


def _constants(spec: InputSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One factor and one summand per channel, rounded to FP32 once."""
    mean, std = np.asarray(spec.mean, np.float64), np.asarray(spec.std, np.float64)
    return (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)


class _Chain:
    """A chain of nodes, with the shapes of their values."""

    def __init__(self, graph: ir.Graph, given: ir.Value) -> None:
        self._graph, self.value = graph, given
        self.nodes: list[ir.Node] = []

    def add(
        self,
        op_type: str,
        attributes: dict[str, object],
        operand: tuple[str, NDArray[np.float32] | NDArray[np.int64]] | None = None,
    ) -> None:
        inputs = [self.value]
        if operand is not None:
            inputs.append(initializer(self._graph, f"{NORMALIZATION}{operand[0]}", operand[1]))
        taken = names_in(self._graph) | {str(node.name) for node in self.nodes}
        name = unique(f"{NORMALIZATION}{op_type}", taken)
        assert self.value.shape is not None and self.value.dtype is not None
        shape = list(self.value.shape)
        if op_type == "Transpose":
            shape = [shape[axis] for axis in attributes["perm"]]  # type: ignore[attr-defined]
        dtype = attributes["to"] if op_type == "Cast" else self.value.dtype
        node = ir.node(op_type, inputs, attributes, name=name)  # type: ignore[arg-type]
        self.value = node.outputs[0]
        self.value.name, self.value.shape = name, ir.Shape(shape)
        self.value.type = ir.TensorType(dtype)  # type: ignore[arg-type]
        self.nodes.append(node)
