"""An INT8 graph as these tests read it: from the file alone, by onnx, with nothing of what placed
the quantizers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
LAYERS = ("Conv", "Gemm")
ACTIVATIONS = ("Relu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh")
POOLS = ("GlobalAveragePool", "AveragePool")
MOVERS = ("MaxPool", "Reshape", "Transpose", "Flatten", "Split", "Slice", "Concat")


class Graph:
    """Nodes by what they make and by what they read; constants as arrays; shapes for a batch of
    one.
    """

    def __init__(self, path: Path) -> None:
        self.proto = onnx.load(path)
        self.nodes = list(self.proto.graph.node)
        self.constants = {
            tensor.name: onnx.numpy_helper.to_array(tensor)
            for tensor in self.proto.graph.initializer
        }
        self.producer = {name: node for node in self.nodes for name in node.output}
        self.image = self.proto.graph.input[0].name

    @cached_property
    def readers(self) -> dict[str, list[NodeProto]]:
        found: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
        del proto.graph.value_info[:]
        known = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph
        return {
            v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
            for v in (*known.input, *known.value_info, *known.output)
        }

    def of(self, *op_types: str) -> Iterator[NodeProto]:
        return (node for node in self.nodes if node.op_type in op_types)

    def computed(self, node: NodeProto) -> list[str]:
        """The inputs that are no constants."""
        return [name for name in node.input if name and name not in self.constants]

    def kind(self, value: str) -> str:
        """The operator that makes a value; empty for the image."""
        return self.producer[value].op_type if value in self.producer else ""

    def is_int8(self, value: str) -> bool:
        """Whether who reads the value reads int8."""
        return self.kind(value) == DEQUANTIZE

    def is_quantized(self, value: str) -> bool:
        """Whether somebody reads the value as int8."""
        return any(reader.op_type == QUANTIZE for reader in self.readers.get(value, []))

    def scale(self, value: str) -> float:
        """Of a value that is read as int8, or that a quantizer reads."""
        node = (
            self.producer[value]
            if self.is_int8(value)
            else next(r for r in self.readers[value] if r.op_type == QUANTIZE)
        )
        return float(self.constants[node.input[1]])

    def behind_quantizer(self, value: str) -> str:
        """The value that was quantized to become this one, or the value itself."""
        return (
            self.producer[self.producer[value].input[0]].input[0] if self.is_int8(value) else value
        )

    def weight(self, layer: NodeProto) -> NDArray[np.generic]:
        """As stored: codes where it is int8."""
        name = layer.input[1]
        return self.constants[self.producer[name].input[0] if self.is_int8(name) else name]

    def macs(self, layer: NodeProto) -> int:
        """Multiply-accumulates for one image."""
        shape = self.weight(layer).shape
        return prod(shape) * (
            prod(self.shapes[layer.output[0]][2:]) if layer.op_type == "Conv" else 1
        )

    def gates(self) -> Iterator[tuple[NodeProto, bool]]:
        """Every product of a value and a sigmoid, and whether the sigmoid is of that same value:
        SiLU; else it is squeeze-and-excitation's.
        """
        for node in self.of("Mul"):
            sources = [self.behind_quantizer(name) for name in self.computed(node)]
            for value, gate in (sources, sources[::-1]) if len(sources) == 2 else ():
                if self.kind(gate) in ("Sigmoid", "HardSigmoid"):
                    yield node, self.behind_quantizer(self.producer[gate].input[0]) == value


def attribute(node: NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)
