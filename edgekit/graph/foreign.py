"""Graphs from other tools: inspects their input and output, and fixes the input shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from edgekit.artifact import Artifact
from edgekit.errors import BadNetwork, InputError
from edgekit.graph import opset
from edgekit.graph.edit import int_attribute, names_in, replace
from edgekit.graph.io import constant, load, opset_of, save
from edgekit.graph.names import unique
from edgekit.images.preprocess import MAX_SIDE, InputSpec

# The operators that make a graph a quantized one.
QUANTIZED = {
    "QuantizeLinear",
    "DequantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
    "DynamicQuantizeLinear",
}
_GROUPED = "GroupNormalization"
_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_OWN = ("", "ai.onnx")  # the domain of ONNX's own operators


@dataclass(frozen=True)
class ForeignInput:
    """The image input of a graph. ``height``, ``width`` and ``batch`` are None if dynamic.

    ``scaled_by`` is the operator type that shifts or scales the image inside the graph, else None.
    """

    layout: str
    channels: int
    height: int | None
    width: int | None
    batch: int | None
    classes: int | None
    scaled_by: str | None = None


def inspect(path: Path, *, for_export: bool = True) -> ForeignInput:
    """Inspects the input of a classifier's graph. ``for_export`` also requires FP32, inference mode
    and standard ONNX operators.

    Raises:
        BadNetwork: the file is not ONNX, has several inputs, an input that is not a float32 image,
            or an output that is not scores ``(N, classes)``. For an export also: the graph is
            already quantized, in half precision or in training mode, or has operators outside ONNX.
    """
    model = load(path)
    if for_export:
        _check_operators(model, path)
    inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    if len(inputs) != 1:
        names = ", ".join(str(value.name) for value in inputs) or "none"
        raise BadNetwork(
            f"{path.name} has {len(inputs)} inputs ({names}); an image classifier has one"
        )
    value = inputs[0]
    if value.dtype != ir.DataType.FLOAT:
        raise BadNetwork(
            f"input {value.name} of {path.name} is {value.dtype}; edgekit needs FP32 graphs",
            hint="export the network in float32",
        )
    if value.shape is None or len(value.shape) != 4:
        raise BadNetwork(
            f"input {value.name} of {path.name} is not an image: its shape is {value.shape}, not "
            f"(batch, channels, height, width)"
        )
    if 0 in list(value.shape):
        raise BadNetwork(
            f"input {value.name} of {path.name} has shape {value.shape}, which holds no image",
            hint="export it with a batch of at least 1",
        )
    dims = [dim if isinstance(dim, int) and dim > 0 else None for dim in value.shape]
    if dims[1] in (1, 3):
        layout, channels, height, width = "NCHW", dims[1], dims[2], dims[3]
    elif dims[3] in (1, 3):
        layout, channels, height, width = "NHWC", dims[3], dims[1], dims[2]
    else:
        raise BadNetwork(
            f"input {value.name} of {path.name} is not an image: {value.shape} has no axis of 1 or "
            f"3 channels"
        )
    if not all(side is None or side <= MAX_SIDE for side in (height, width)):
        raise BadNetwork(
            f"{path.name} needs {height} × {width} pixels; edgekit supports at most {MAX_SIDE} × "
            f"{MAX_SIDE}"
        )
    return ForeignInput(
        layout, channels, height, width, dims[0], _classes(model, path), _scaled_by(value)
    )


def _check_operators(model: ir.Model, path: Path) -> None:
    opset = opset_of(model)
    for node in model.graph:
        what = f"{node.op_type} in {node.name or node.outputs[0].name}"
        if node.op_type in QUANTIZED:
            raise BadNetwork(
                f"{path.name} is quantized already ({what})", hint="give the FP32 graph"
            )
        if node.domain not in _OWN and node.op_identifier() not in model.functions:
            raise BadNetwork(
                f"{path.name} has operators that ONNX does not define ({what}, of {node.domain})",
                hint="give the exported graph, not one that a runtime has optimized",
            )
        if _trains(node, opset):
            raise BadNetwork(
                f"{path.name} is in training mode ({what})",
                hint="call eval() on the network before it is exported",
            )
        if _halves(node):
            raise BadNetwork(
                f"{path.name} computes in half precision ({what})",
                hint="give the FP32 graph; `precision` fp16 converts it",
            )


def prepare(source: Path, path: Path, spec: InputSpec, batch: int | None) -> Artifact:
    """Writes the graph with a fixed input shape and a supported opset. ``batch`` None means a
    dynamic batch.

    Raises:
        InputError: the graph has a different static batch.
        BadNetwork: the opset cannot be upgraded, or the graph has an error that the ONNX checker
            does not find.
    """
    model = load(source)
    for name in [n for n in model.graph.initializers if n in {v.name for v in model.graph.inputs}]:
        model.graph.inputs.remove(model.graph.initializers[name])
    value = model.graph.inputs[0]
    assert value.shape is not None
    fixed = value.shape[0]
    if isinstance(fixed, int) and fixed > 0 and fixed != batch:
        raise InputError(
            f"{source.name} was exported for batch {fixed}",
            hint=f"use `batch` {fixed}, or export it with a dynamic batch",
        )
    value.shape = ir.Shape(spec.shape(batch or "batch"))
    _flatten_pixel(model.graph)
    for output in model.graph.outputs:
        if output.shape is not None and len(output.shape) == 2:
            output.shape = ir.Shape([batch or "batch", output.shape[1]])
    if opset_of(model) < opset.OLDEST:
        model = opset.convert(model, opset.OLDEST)
    common.InlinePass()(model)
    try:
        model = _infer_shapes(model)
        _name_types(model)
        return save(model, path, "fp32")
    except ir.serde.SerdeError as error:  # for example names that are not valid text
        raise BadNetwork(
            f"{source.name} is malformed: {str(error.__cause__ or error).partition(chr(10))[0]}"
        ) from error


def _flatten_pixel(graph: ir.Graph) -> None:
    """Flattens scores ``(N, classes, 1, 1)`` to ``(N, classes)``. Networks without a linear layer
    output the former.
    """
    old = graph.outputs[0]
    if old.shape is None or len(old.shape) != 4:
        return
    name = str(old.name)
    old.name = unique(f"{name}/pixel", names_in(graph))
    flatten = ir.node(
        "Flatten", [old], {"axis": 1}, name=unique(f"{name}/Flatten", names_in(graph))
    )
    new = flatten.outputs[0]
    new.name, new.type, new.shape = name, old.type, ir.Shape([old.shape[0], old.shape[1]])
    graph.append(flatten)
    graph.outputs[0] = new


def _trains(node: ir.Node, opset: int) -> bool:
    """Whether a batch norm or dropout is in training mode. Old opsets mark this by additional
    outputs.
    """
    if node.op_type == "BatchNormalization":
        return (
            bool(int_attribute(node, "training_mode", 0))
            if opset >= 14
            else any(value.name for value in node.outputs[1:])
        )
    mode = constant(node.inputs[2]) if node.op_type == "Dropout" and len(node.inputs) > 2 else None
    return mode is not None and bool(mode.numpy())


def _halves(node: ir.Node) -> bool:
    """Whether a node casts a computed value to half precision. Constants stored in half precision
    are folded and do not count.
    """
    return (
        node.op_type == "Cast"
        and int_attribute(node, "to", 0) in _HALVES
        and constant(node.inputs[0]) is None
    )


def _name_types(model: ir.Model) -> None:
    """Replaces CastLike by Cast. CastLike depends on another value, which would prevent constant
    folding.
    """
    for node in [node for node in model.graph if node.op_type == "CastLike" and not node.domain]:
        like = node.inputs[1]
        if like is not None and like.dtype is not None:
            replace(
                model.graph,
                node,
                [ir.node("Cast", [node.inputs[0]], {"to": int(like.dtype)}, name=node.name)],
            )


def _infer_shapes(model: ir.Model) -> ir.Model:
    from onnx import shape_inference

    for node in model.graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    proto = ir.to_proto(model)
    grouped = {
        i: onnx.NodeProto.FromString(node.SerializeToString())
        for i, node in enumerate(proto.graph.node)
        if node.op_type == _GROUPED
    }
    for i in (
        grouped
    ):  # onnx cannot infer its output shape; InstanceNormalization has the same output shape
        proto.graph.node[i].op_type = "InstanceNormalization"
        del proto.graph.node[i].attribute[:]
    proto = shape_inference.infer_shapes(proto, data_prop=True)
    for i, node in grouped.items():
        proto.graph.node[i].CopyFrom(node)
    return ir.from_proto(proto)


def _scaled_by(value: ir.Value) -> str | None:
    while len(value.uses()) == 1:
        (node, position), *_ = value.uses()
        other = node.inputs[1 - position] if len(node.inputs) == 2 else None
        if node.op_type in ("Add", "Sub", "Mul", "Div") and constant(other) is not None:
            return node.op_type
        if node.op_type not in ("Transpose", "Cast", "Identity"):
            return None
        value = node.outputs[0]
    return None


def _classes(model: ir.Model, path: Path) -> int | None:
    outputs = list(model.graph.outputs)
    if len(outputs) != 1:
        raise BadNetwork(
            f"{path.name} has {len(outputs)} outputs ({', '.join(str(v.name) for v in outputs)}); "
            f"a classifier has one"
        )
    shape, dtype = outputs[0].shape, outputs[0].dtype
    if dtype is not None and dtype.is_integer():
        raise BadNetwork(
            f"output {outputs[0].name} of {path.name} is {dtype}, so it does not hold class scores",
            hint="remove the ArgMax at the end of the network",
        )
    is_pixel = shape is not None and len(shape) == 4 and list(shape)[2:] == [1, 1]
    if shape is not None and len(shape) != 2 and not is_pixel:
        raise BadNetwork(
            f"output {outputs[0].name} of {path.name} has shape {shape}; a classifier returns "
            f"(images, classes)"
        )
    classes = shape[1] if shape is not None and isinstance(shape[1], int) else None
    if classes == 0:
        raise BadNetwork(
            f"output {outputs[0].name} of {path.name} has shape {shape}, which has no classes"
        )
    return classes
