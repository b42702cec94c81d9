"""The types of an engine's input image and output scores. FP16 for both, or INT8 codes for the
image, means that less data is copied.

The parsed network does not change. A conversion before it produces the graph's own input type, and
TensorRT fuses the conversion with the first layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import TensorSpec
from edgekit.errors import InputError
from edgekit.runtimes.tensorrt.library import Library

if TYPE_CHECKING:
    import tensorrt

    Readers = list[tuple[tensorrt.ILayer, int]]  # a layer and the index of its input

Specs = tuple[TensorSpec, ...]
Io = Literal["fp32", "fp16", "int8"]
IO: tuple[Io, ...] = ("fp32", "fp16", "int8")
_INNER = "|graph"  # suffix for the graph's own tensor, whose name the new input or output gets


def change_io(library: Library, network: tensorrt.INetworkDefinition, io: Io) -> float | None:
    """Changes the types of the one input and the outputs of a parsed network; their names stay.
    ``fp16`` changes both, ``int8`` only the input, ``fp32`` neither. An input of 8-bit pixels
    stays.

    Returns the step of an INT8 input, else None. An INT8 input takes round(image / step), from -128
    to 127.

    Raises:
        InputError: ``io`` is ``int8``, and the graph does not quantize its input for every
            consumer.
    """
    if io == "fp32":
        return None
    types, image, step = library.trt.DataType, network.get_input(0), None
    if io == "int8" and image.dtype.name == "UINT8":
        raise InputError(
            "the graph takes 8-bit pixels already", hint="use `io` fp32 or fp16 for its scores"
        )
    readers = _readers(network, image)
    if io == "int8":
        step = _step(library, network, readers)
        numbers = _dequantized(library, network, _new_input(network, image, types.INT8), step)
        _feed(network, image, readers, numbers)
    else:
        if image.dtype == types.FLOAT:
            numbers = network.add_cast(
                _new_input(network, image, types.HALF), types.FLOAT
            ).get_output(0)
            _feed(network, image, readers, numbers)
        for scores in [network.get_output(i) for i in range(network.num_outputs)]:
            if scores.dtype == types.FLOAT:
                _halve_output(library, network, scores)
    return step


def specs(inputs: Specs, outputs: Specs, io: Io, step: float | None) -> tuple[Specs, Specs]:
    """The inputs and outputs of an engine, from those of its graph. ``step`` is the step of an INT8
    input.
    """
    if io == "fp16":
        return tuple(map(_halved, inputs)), tuple(map(_halved, outputs))
    return (
        tuple(replace(spec, dtype="int8", step=step) for spec in inputs) if io == "int8" else inputs
    ), outputs


def _halved(spec: TensorSpec) -> TensorSpec:
    return replace(spec, dtype="float16") if spec.dtype == "float32" else spec


def _new_input(
    network: tensorrt.INetworkDefinition, old: tensorrt.ITensor, dtype: tensorrt.DataType
) -> tensorrt.ITensor:
    name = old.name
    old.name = name + _INNER
    return network.add_input(name, dtype, old.shape)


def _dequantized(
    library: Library, network: Any, codes: tensorrt.ITensor, step: float
) -> tensorrt.ITensor:
    """Dequantizes codes. Quantizing the result with the same step gives the same codes, so the
    numbers are exact even if TensorRT does not remove the pair.
    """
    scale = network.add_constant((), np.array([step], np.float32)).get_output(0)
    output_type = (library.trt.DataType.FLOAT,) if library.dialect == "strong" else ()
    result: tensorrt.ITensor = network.add_dequantize(codes, scale, *output_type).get_output(0)
    return result


def _feed(
    network: tensorrt.INetworkDefinition,
    old: tensorrt.ITensor,
    readers: Readers,
    new: tensorrt.ITensor,
) -> None:
    """Connects ``new`` to the consumers of the input ``old``, and removes ``old``."""
    for layer, position in readers:
        layer.set_input(position, new)
    network.remove_tensor(old)


def _halve_output(
    library: Library, network: tensorrt.INetworkDefinition, scores: tensorrt.ITensor
) -> None:
    name = scores.name
    network.unmark_output(scores)
    scores.name = name + _INNER
    halves = network.add_cast(scores, library.trt.DataType.HALF).get_output(0)
    halves.name = name
    network.mark_output(halves)
    if (
        library.dialect == "weak"
        # NvInfer.h of 8.6: the type of a tensor that is neither an input nor marked as an output
        # does not change
    ):
        halves.dtype = library.trt.DataType.HALF


def _step(library: Library, network: tensorrt.INetworkDefinition, readers: Readers) -> float:
    kinds = library.trt.LayerType
    if not readers or any(layer.type != kinds.QUANTIZE for layer, _ in readers):
        raise InputError(
            "an INT8 input needs a graph that quantizes its whole image, and this one does not",
            hint="use `io` fp16, or an INT8 bundle whose first layer is not kept in float",
        )
    scale = readers[0][0].get_input(1).name
    for layer in _layers(network):
        if layer.type == kinds.CONSTANT and layer.get_output(0).name == scale:
            layer.__class__ = library.trt.IConstantLayer
            return _first(np.asarray(layer.weights))  # type: ignore[attr-defined]
    raise InputError(
        f"the step of the graph's INT8 input, {scale}, is not a constant", hint="use `io` fp16"
    )


def _first(weights: NDArray[np.generic]) -> float:
    """The first element. Bindings that were compiled for NumPy 1 give their arrays wrong strides
    under NumPy 2, and only this element is at the same place with any strides.
    """
    return float(weights[(0,) * weights.ndim])


def _readers(network: tensorrt.INetworkDefinition, tensor: tensorrt.ITensor) -> Readers:
    found = []
    for layer in _layers(network):
        for position in range(layer.num_inputs):
            read = layer.get_input(position)
            if read is not None and read.name == tensor.name:
                found.append((layer, position))
    return found


def _layers(network: tensorrt.INetworkDefinition) -> Iterator[tensorrt.ILayer]:
    return (network.get_layer(i) for i in range(network.num_layers))
