"""What TensorRT's inspector tells of an engine, in both of its json forms.

Up to 10 a tensor has one field, ``Format/Datatype``, and ``Bindings`` names the inputs and outputs;
from 11 on ``Format`` and ``Datatype`` are two fields, and ``I/O Tensors`` describes them (NVIDIA,
"Migrating IEngineInspector Usage from TensorRT 10.x to 11.x"). Built without detailed profiling, an
engine tells of each layer only its name, as a string.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.errors import BadNetwork
from edgekit.runtimes.tensorrt.api import Module
from edgekit.runtimes.tensorrt.inspection.layers import (
    EngineLayer,
    EngineTensor,
    LayerPrecision,
    LayerRole,
    converts,
    narrowest,
    onnx_names,
    precision_of,
    widest,
)

if TYPE_CHECKING:
    import tensorrt

_OTHER = {
    "noop",
    "constant",
    "shuffle",
    "identity",
    "shapehosttodevice",
    "signal",
    "wait",
    "shape_call",
}
_MATRIX = ("conv", "gemm", "matrixmultiply", "matmul", "fullyconnected", "correlation")


def read_inspector(text: str) -> tuple[EngineLayer, ...]:
    """Every layer of an engine, in the order of execution.

    Raises:
        BadNetwork: this is not what an inspector writes.
    """
    try:
        layers = json.loads(text, strict=False)["Layers"]
        return tuple(_layer(layer) for layer in layers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadNetwork(
            f"the inspector's answer cannot be read: {error}",
            hint="build the engine again, or report this with the traceback",
        ) from error


def inspect_engine(
    trt: Module, engine: tensorrt.ICudaEngine, context: tensorrt.IExecutionContext
) -> tuple[EngineLayer, ...]:
    """Asks an engine. With a context whose shapes are set, formats are told in full, and for
    dynamic shapes at all.
    """
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    return read_inspector(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _layer(told: Any) -> EngineLayer:
    if isinstance(told, str):
        return EngineLayer(told, "", (), (), "other", "", onnx_names("", told), "other")
    name, kind = str(told["Name"]), str(told.get("LayerType", ""))
    inputs, outputs = (
        tuple(_tensor(tensor) for tensor in told.get(key) or ()) for key in ("Inputs", "Outputs")
    )
    names = onnx_names(str(told.get("Metadata", "")), name)
    tactic = str(told.get("TacticName", ""))
    matrix = (
        any(word in f"{kind} {told.get('ParameterType', '')}".lower() for word in _MATRIX)
        or "gemm" in tactic
        or "fprop" in tactic
    )
    role = _role(name, kind, names)
    return EngineLayer(
        name,
        kind,
        inputs,
        outputs,
        _precision(told, inputs, outputs, matrix),
        tactic,
        names,
        role,
        matrix and role == "compute",
    )


def _tensor(told: Mapping[str, Any]) -> EngineTensor:
    if "Format/Datatype" in told:
        description = str(told["Format/Datatype"])
    else:
        datatype = str(told.get("Datatype", told.get("DataType", "")))
        description = (
            f"{told.get('Format', '')} {datatype}".strip()
            if precision_of(str(told.get("Format", ""))) == "other"
            else str(told["Format"])
        )
    return EngineTensor(
        str(told.get("Name", "")), tuple(told.get("Dimensions", ())), description.rstrip(".")
    )


def _role(name: str, kind: str, names: tuple[str, ...]) -> LayerRole:
    if kind.lower() in _OTHER:
        return "other"
    return (
        "reformat"
        if kind.lower() == "reformat" or name.startswith("Reformatting CopyNode") or converts(names)
        else "compute"
    )


def _precision(
    told: Mapping[str, Any],
    inputs: tuple[EngineTensor, ...],
    outputs: tuple[EngineTensor, ...],
    matrix: bool,
) -> LayerPrecision:
    """What a layer computes in.

    A convolution or product: the type of its weights, or of its narrowest input, whatever it
    writes. Anything else: the type that it reads and writes; where these differ it converts on the
    way, and counts as the narrower of two floats, or as the float where the other side is INT8.
    """
    if matrix:
        weights = precision_of(str((told.get("Weights") or {}).get("Type", "")))
        return weights if weights != "other" else narrowest(inputs)
    reads, writes = widest(inputs), widest(outputs)
    if "other" in (reads, writes):
        return writes if reads == "other" else reads
    if reads == writes:
        return reads
    floats: list[LayerPrecision] = [side for side in (reads, writes) if side != "int8"]
    return "fp16" if "fp16" in floats else "fp32"
