"""The layers of a network before the build, with the precision that their types request.

Without a GPU no engine can be opened. The audit then checks these requested precisions instead of
those that run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from edgekit.runtimes.tensorrt.inspection.layers import (
    EngineLayer,
    EngineTensor,
    LayerPrecision,
    LayerRole,
    converts,
    onnx_names,
    widest,
)

if TYPE_CHECKING:
    import tensorrt

MATRIX = {"CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "FULLY_CONNECTED", "EINSUM"}
_REFORMAT = {"CAST", "QUANTIZE", "DEQUANTIZE"}
_OTHER = {"CONSTANT", "SHUFFLE", "IDENTITY", "SHAPE", "SQUEEZE", "UNSQUEEZE"}
_MOVES = {"SHUFFLE", "IDENTITY", "SQUEEZE", "UNSQUEEZE"}  # they do not change values
_DTYPES = {"FLOAT": "fp32", "HALF": "fp16", "INT8": "int8"}


def network_layers(network: tensorrt.INetworkDefinition) -> tuple[EngineLayer, ...]:
    """All layers of an ``INetworkDefinition``.

    A convolution or matrix product is INT8 if both operands come from DequantizeLinear, directly or
    through a reshape.
    """
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    makers = {layer.get_output(k).name: layer for layer in layers for k in range(layer.num_outputs)}
    return tuple(_layer(layer, makers) for layer in layers)


def quantized(layers: Iterable[EngineLayer]) -> tuple[str, ...]:
    """The nodes of the quantized convolutions and matrix products, from a network's layers before
    the build.
    """
    names = (
        layer.onnx_layers[0] if layer.onnx_layers else layer.name
        for layer in layers
        if layer.matrix and layer.precision == "int8"
    )
    return tuple(dict.fromkeys(names))


def _layer(layer: tensorrt.ILayer, makers: Mapping[str, tensorrt.ILayer]) -> EngineLayer:
    kind = layer.type.name
    present = [
        tensor for k in range(layer.num_inputs) if (tensor := layer.get_input(k)) is not None
    ]
    inputs = tuple(_tensor(tensor) for tensor in present)
    outputs = tuple(_tensor(layer.get_output(k)) for k in range(layer.num_outputs))
    names = onnx_names(layer.metadata, layer.name)
    role: LayerRole = (
        "reformat"
        if kind in _REFORMAT or converts(names)
        else "other"
        if kind in _OTHER
        else "compute"
    )
    matrix = kind in MATRIX
    precision: LayerPrecision = widest(outputs)
    if (
        matrix
        and len(inputs) > 1
        and all(_is_dequantized(tensor.name, makers) for tensor in inputs[:2])
    ):  # a third is the bias
        precision = "int8"
    return EngineLayer(
        layer.name, kind.lower(), inputs, outputs, precision, "", names, role, matrix
    )


def _is_dequantized(tensor: str, makers: Mapping[str, tensorrt.ILayer]) -> bool:
    maker = makers.get(tensor)
    while maker is not None and maker.type.name in _MOVES:
        maker = makers.get(maker.get_input(0).name)
    return maker is not None and maker.type.name == "DEQUANTIZE"


def _tensor(tensor: tensorrt.ITensor) -> EngineTensor:
    return EngineTensor(
        tensor.name, tuple(tensor.shape), _DTYPES.get(tensor.dtype.name, tensor.dtype.name.lower())
    )
