"""Reads inner values of an ONNX graph, by their names in the float graph.

The comparison uses the value that the consumers of a node read, after casts, rounding and
quantization. So ``features.3.conv.0.0/Conv`` of an INT8 graph is the value that the next layer
reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import onnx
import onnx_ir as ir

from edgekit.artifact import Artifact, Carrier, PrecisionName
from edgekit.graph.alignment import KEY, Alignment, alignments
from edgekit.graph.edit import scalar
from edgekit.graph.forms.fp16 import rounding_twin
from edgekit.graph.forms.uint8_input import normalizes_input
from edgekit.graph.io import load, save
from edgekit.graph.values import open_values, values_by_name
from edgekit.layerwise.taps import GIVEN, INPUT, INT8, Tap
from edgekit.runtimes.base import Runtime, Session

INPUT_NAME = "input"  # the name used here for the input of every graph
TWIN = "FP16 is simulated by an FP32 graph in which every FP16 tensor is rounded"
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_PASSING = ("Cast", _QUANTIZE, _DEQUANTIZE)


class GraphTaps:
    """A graph whose values a runtime computes; implements :class:`edgekit.layerwise.taps.Taps`.

    Args:
        artifact: an ONNX graph with one input.
        folder: a folder for the twin and the whole graph.
        runtime: computes the values. A CPU does not round FP16 as a GPU does, so with ``on_cpu`` an
            FP16 graph is simulated by its rounding twin.
        local: whether single layers can be computed from given inputs, see :meth:`alone`.
        caution: a note about the runtime for the user.

    Raises:
        BadNetwork: the file is not a valid ONNX graph.
    """

    def __init__(
        self,
        artifact: Artifact,
        folder: Path,
        runtime: Runtime,
        *,
        on_cpu: bool = True,
        local: bool = True,
        caution: str | None = None,
    ) -> None:
        model = _typed(load(artifact.path))
        self.caution = caution
        self._precision = _precision(model)
        if on_cpu and _has_halves(model):
            model = load(rounding_twin(artifact, folder / "twin.onnx").path)
            self.caution = TWIN
        self._ends = _ends(model)
        model.metadata_props.pop(KEY, None)
        self._proto = ir.to_proto(model)
        self._values = values_by_name(model.graph)
        self._folder, self._runtime, self._local = folder, runtime, local
        shape = model.graph.inputs[0].shape
        self.batch = (
            shape[0] if shape is not None and len(shape) and isinstance(shape[0], int) else None
        )
        last = str(model.graph.outputs[0].name)
        self.output = next(
            (name for name, end in self._ends.items() if end.tap.tensor == last), last
        )

    @property
    def taps(self) -> Mapping[str, Tap]:
        return {name: end.tap for name, end in self._ends.items()}

    @property
    def carriers(self) -> Mapping[str, tuple[Carrier, ...]]:
        """By value name, the tensors that hold the value as its consumers read it, including int8
        codes.
        """
        return {
            name: _carriers([self._values[tensor] for tensor in end.tensors])
            for name, end in self._ends.items()
        }

    def whole(self) -> Artifact:
        """Writes the whole graph to a file in the folder."""
        return save(ir.from_proto(self._proto), self._folder / "whole.onnx", self._precision)

    def upstream(self, names: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        cut = {tensor: name for name in names for tensor in self._ends[name].tensors}
        return {name: _nearest(self._values[self._ends[name].tap.tensor], cut) for name in names}

    def read(self, names: Collection[str]) -> Session:
        return self._open(ir.from_proto(self._proto), names)

    def alone(self, names: Collection[str], given: Collection[str]) -> Session | None:
        if not self._local:
            return None
        model = ir.from_proto(self._proto)
        values = values_by_name(model.graph)
        for name in given:
            _cut(model.graph, [values[tensor] for tensor in self._ends[name].tensors])
        return self._open(model, names)

    def _open(self, model: ir.Model, names: Iterable[str]) -> Session:
        """A session on the part of the graph that these values need."""
        tensors = [self._ends[name].tap.tensor for name in names]
        return open_values(model, tensors, precision=self._precision, runtime=self._runtime)


class _End(NamedTuple):
    """A value as its consumers read it: the tap, and every tensor that holds it."""

    tap: Tap
    tensors: tuple[str, ...]


def _ends(model: ir.Model) -> dict[str, _End]:
    graph, frames = model.graph, alignments(model)
    found: dict[str, _End] = {}
    quantized: dict[str, bool] = {}
    for value in _live(graph):
        if value.dtype not in _FLOATS or _is_passed_on(value) or _inside_normalization(value):
            continue
        origin, quantizer = _origin(value)
        base = (
            INPUT_NAME
            if _is_image(origin) and quantizer is None
            else _base(value, origin, quantizer)
        )
        name = base
        if name in found and quantizer is not None and not quantized[name]:
            name = base + INT8
        if name in found:
            found[name] = found[name]._replace(tensors=(*found[name].tensors, str(value.name)))
            continue
        maker = origin.producer()
        on_the_way = "Cast" if quantizer is None else _QUANTIZE
        op_type = maker.op_type if maker is not None else INPUT if value is origin else on_the_way
        shape = (
            None
            if value.shape is None
            else tuple(dim if isinstance(dim, int) else None for dim in value.shape)
        )
        found[name] = _End(
            Tap(str(value.name), op_type, shape, frames.get(base, Alignment())), (str(value.name),)
        )
        quantized[name] = quantizer is not None
    return found


def _base(value: ir.Value, origin: ir.Value, quantizer: ir.Node | None) -> str:
    """The name of a value in the float graph. A quantizer that absorbed a ReLU is named
    after it.
    """
    if value.is_graph_output():
        return str(value.name)
    if quantizer is not None and str(quantizer.name).endswith(f"/{_QUANTIZE}"):
        name = str(quantizer.name).removesuffix(f"/{_QUANTIZE}")
        return INPUT_NAME if _is_image(origin) else name
    return INPUT_NAME if _is_image(origin) else str(origin.name)


def _is_image(origin: ir.Value) -> bool:
    """Whether a value is the image as the network itself takes it: given, or normalized in front of
    the network.
    """
    return origin.producer() is None or normalizes_input(origin.producer())


def _inside_normalization(value: ir.Value) -> bool:
    return normalizes_input(value.producer()) and all(
        normalizes_input(use.node) for use in value.uses()
    )


def _origin(value: ir.Value) -> tuple[ir.Value, ir.Node | None]:
    """The original value before casts and quantization, and the last quantizer on the way."""
    quantizer = None
    while (node := value.producer()) is not None and _passes(node) and node.inputs[0] is not None:
        quantizer = node if node.op_type == _QUANTIZE and quantizer is None else quantizer
        value = node.inputs[0]
    return value, quantizer


def _carriers(tensors: Sequence[ir.Value]) -> tuple[Carrier, ...]:
    found = [Carrier(str(tensor.name)) for tensor in tensors]
    for node in (tensor.producer() for tensor in tensors):
        if node is None or node.op_type != _DEQUANTIZE:
            continue
        codes, scale, *zero = node.inputs
        step = scalar(scale)
        if (
            codes is not None
            and codes.dtype == ir.DataType.INT8
            and step is not None
            and not any(scalar(value) for value in zero)
        ):
            found.append(Carrier(str(codes.name), step))
    return tuple(dict.fromkeys(found))


def _is_passed_on(value: ir.Value) -> bool:
    """Whether a value has one consumer, which only casts or quantizes it."""
    readers = {use.node for use in value.uses()}
    return (
        not value.is_graph_output() and len(readers) == 1 and all(_passes(node) for node in readers)
    )


def _passes(node: ir.Node) -> bool:
    """Whether a node outputs its input number, as exactly as its type allows. A Clip of int8 codes
    is a moved ReLU and counts too.
    """
    return node.op_type in _PASSING or (
        node.op_type == "Clip" and node.outputs[0].dtype in (ir.DataType.INT8, ir.DataType.UINT8)
    )


def _live(graph: ir.Graph) -> list[ir.Value]:
    """The values that depend on the graph's inputs, in the order of execution."""
    found = dict.fromkeys(graph.inputs)
    for node in graph:
        if any(value in found for value in node.inputs if value is not None):
            found.update(dict.fromkeys(node.outputs))
    return list(found)


def _nearest(value: ir.Value, cut: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the nearest cut tensors upstream of a value."""
    found: dict[str, None] = {}
    seen, waiting = {value}, [value]
    while waiting:
        node = waiting.pop().producer()
        for source in node.inputs if node is not None else ():
            if source is None or source in seen:
                continue
            seen.add(source)
            if str(source.name) in cut:
                found[cut[str(source.name)]] = None
            else:
                waiting.append(source)
    return tuple(found)


def _cut(graph: ir.Graph, tensors: Sequence[ir.Value]) -> None:
    """Replaces each tensor by a new graph input for all its consumers."""
    dtype = tensors[0].dtype
    assert dtype is not None
    given = ir.Value(
        name=f"{tensors[0].name}{GIVEN}", shape=tensors[0].shape, type=ir.TensorType(dtype)
    )
    graph.inputs.append(given)
    for tensor in tensors:
        for use in list(tensor.uses()):
            use.node.replace_input_with(use.idx, given)


def _precision(model: ir.Model) -> PrecisionName:
    if any(node.op_type == _QUANTIZE for node in model.graph):
        return "int8"
    return "fp16" if _has_halves(model) else "fp32"


def _has_halves(model: ir.Model) -> bool:
    return any(value.dtype == ir.DataType.FLOAT16 for node in model.graph for value in node.outputs)


def _typed(model: ir.Model) -> ir.Model:
    """The graph with inferred types and shapes, if types are missing."""
    if all(
        value.dtype is not None and value.shape is not None
        for node in model.graph
        for value in node.outputs
    ):
        return model
    return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(model), data_prop=True))
