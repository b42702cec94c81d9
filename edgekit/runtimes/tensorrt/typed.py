"""The layers of a network before it is built, with the precision that its types ask for.

Where no engine can be opened, as without a GPU, this is what can be audited: what was asked, not what runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgekit.runtimes.tensorrt.layers import EngineLayer, EngineTensor, LayerPrecision, Role, is_cast, onnx_names, widest

if TYPE_CHECKING:
    import tensorrt

_MATRIX = {"CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "FULLY_CONNECTED", "EINSUM"}
_REFORMAT = {"CAST", "QUANTIZE", "DEQUANTIZE"}
_OTHER = {"CONSTANT", "SHUFFLE", "IDENTITY", "SHAPE", "SQUEEZE", "UNSQUEEZE"}
_DTYPES = {"FLOAT": "fp32", "HALF": "fp16", "INT8": "int8"}


def network_layers(network: tensorrt.INetworkDefinition) -> tuple[EngineLayer, ...]:
    """Every layer of an ``INetworkDefinition``.

    A matrix layer that reads dequantized tensors only is INT8: that is the form in which a graph asks for it.
    """
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    makers = {layer.get_output(k).name: layer.type.name for layer in layers for k in range(layer.num_outputs)}
    return tuple(_layer(layer, makers) for layer in layers)


def _layer(layer: tensorrt.ILayer, makers: Mapping[str, str]) -> EngineLayer:
    kind = layer.type.name
    given = [tensor for k in range(layer.num_inputs) if (tensor := layer.get_input(k)) is not None]
    inputs = tuple(_tensor(tensor) for tensor in given)
    outputs = tuple(_tensor(layer.get_output(k)) for k in range(layer.num_outputs))
    names = onnx_names(layer.metadata, layer.name)
    role: Role = "reformat" if kind in _REFORMAT or is_cast(names) else "other" if kind in _OTHER else "compute"
    matrix = kind in _MATRIX
    precision: LayerPrecision = widest(outputs)
    if matrix and inputs and all(makers.get(tensor.name) == "DEQUANTIZE" for tensor in inputs):
        precision = "int8"
    return EngineLayer(layer.name, kind.lower(), inputs, outputs, precision, "", names, role, matrix)


def _tensor(tensor: tensorrt.ITensor) -> EngineTensor:
    return EngineTensor(tensor.name, tuple(tensor.shape), _DTYPES.get(tensor.dtype.name, tensor.dtype.name.lower()))
