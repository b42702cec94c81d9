"""Parses the output of TensorRT's engine inspector, in both of its JSON forms.

Up to TensorRT 10 a tensor has one field, ``Format/Datatype``, and ``Bindings`` names the inputs and
outputs. From 11 on ``Format`` and ``Datatype`` are two fields, and ``I/O Tensors`` describes the
inputs and outputs (NVIDIA, "Migrating IEngineInspector Usage from TensorRT 10.x to 11.x"). Without
detailed profiling each layer is only its name, a string.
"""

from __future__ import annotations

import json
import re
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
# The types of the two operands in the name of a kernel: "sm80_xmma_gemm_f16f16_f16f32_f32".
_OPERANDS = re.compile(r"_(i8i8|f16f16|f32f32|tf32tf32)_")
_KERNELS: dict[str, LayerPrecision] = {
    "i8i8": "int8",
    "f16f16": "fp16",
    "f32f32": "fp32",
    "tf32tf32": "fp32",
}
_MATRIX = ("conv", "gemm", "matrixmultiply", "matmul", "fullyconnected", "correlation")


def read_inspector(text: str) -> tuple[EngineLayer, ...]:
    """All layers of an engine, in the order of execution.

    Raises:
        BadNetwork: the text is not the output of an inspector.
    """
    try:
        layers = json.loads(text, strict=False)["Layers"]
        return tuple(_layer(layer) for layer in layers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadNetwork(
            f"the output of the engine inspector cannot be read: {error}",
            hint="build the engine again, or report this with the traceback",
        ) from error


def inspect_engine(
    trt: Module, engine: tensorrt.ICudaEngine, context: tensorrt.IExecutionContext
) -> tuple[EngineLayer, ...]:
    """Inspects an engine. The context must have its shapes set: only then are formats complete, and
    dynamic shapes reported.
    """
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    return read_inspector(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _layer(entry: Any) -> EngineLayer:
    if isinstance(entry, str):
        return EngineLayer(entry, "", (), (), "other", "", onnx_names("", entry), "other")
    name, kind = str(entry["Name"]), str(entry.get("LayerType", ""))
    inputs, outputs = (
        tuple(_tensor(tensor) for tensor in entry.get(key) or ()) for key in ("Inputs", "Outputs")
    )
    names = onnx_names(str(entry.get("Metadata", "")), name)
    tactic = str(entry.get("TacticName", ""))
    matrix = (
        any(word in f"{kind} {entry.get('ParameterType', '')}".lower() for word in _MATRIX)
        or "gemm" in tactic
        or "fprop" in tactic
    )
    role = _role(name, kind, names)
    return EngineLayer(
        name,
        kind,
        inputs,
        outputs,
        _precision(entry, inputs, outputs, matrix),
        tactic,
        names,
        role,
        matrix and role == "compute",
    )


def _tensor(entry: Mapping[str, Any]) -> EngineTensor:
    if "Format/Datatype" in entry:
        description = str(entry["Format/Datatype"])
    else:
        datatype = str(entry.get("Datatype", entry.get("DataType", "")))
        description = (
            f"{entry.get('Format', '')} {datatype}".strip()
            if precision_of(str(entry.get("Format", ""))) == "other"
            else str(entry["Format"])
        )
    return EngineTensor(
        str(entry.get("Name", "")), tuple(entry.get("Dimensions", ())), description.rstrip(".")
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
    entry: Mapping[str, Any],
    inputs: tuple[EngineTensor, ...],
    outputs: tuple[EngineTensor, ...],
    matrix: bool,
) -> LayerPrecision:
    """The precision in which a layer computes.

    A convolution or matrix product: the type of its weights, else that of its operands. Any other
    layer: the type that it reads and writes. If these two differ, it is the narrower of two floats,
    or the float if the other one is INT8.
    """
    if matrix:
        weights = precision_of(str((entry.get("Weights") or {}).get("Type", "")))
        tactic = str(entry.get("TacticName", ""))
        return weights if weights != "other" else _operands(tactic, inputs)
    reads, writes = widest(inputs), widest(outputs)
    if "other" in (reads, writes):
        return writes if reads == "other" else reads
    if reads == writes:
        return reads
    floats: list[LayerPrecision] = [side for side in (reads, writes) if side != "int8"]
    return "fp16" if "fp16" in floats else "fp32"


def _operands(tactic: str, inputs: tuple[EngineTensor, ...]) -> LayerPrecision:
    """The type of the operands of a product: from the name of its kernel, else from its first two
    inputs, the data and the weights. A product with one operand in INT8 and one in a float computes
    in the float; further inputs, such as the bias, do not count.
    """
    if (found := _OPERANDS.search(tactic)) is not None:
        return _KERNELS[found[1]]
    operands = inputs[:2]
    floats = [tensor for tensor in operands if tensor.precision in ("fp16", "fp32")]
    return narrowest(floats or operands)
