"""Somebody else's graph: what it takes and gives, and the same graph with its shapes fixed."""

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

_QUANTIZED = {
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
    """The one image input of a graph; ``height``, ``width`` and ``batch`` are None where the graph
    leaves them open.

    ``scaled_by`` is the operator that shifts or scales the image first, as preprocessing inside a
    graph does.
    """

    layout: str
    channels: int
    height: int | None
    width: int | None
    batch: int | None
    classes: int | None
    scaled_by: str | None = None


def inspect(path: Path, *, for_export: bool = True) -> ForeignInput:
    """Reads what a classifier's graph takes; ``for_export`` refuses what is no FP32 graph for
    inference in ONNX's own operators.

    Raises:
        BadNetwork: not ONNX, several inputs, an input that is no float32 image, or an output that
            is no ``(N, classes)`` of scores; for an export also already quantized, in half
            precision or in training mode, or operators that ONNX does not define.
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
            f"input {value.name} of {path.name} is {value.dtype}; edgekit takes FP32 graphs",
            hint="export the network in float32",
        )
    if value.shape is None or len(value.shape) != 4:
        raise BadNetwork(
            f"input {value.name} of {path.name} is no image: its shape is {value.shape}, not "
            f"(batch, channels, height, width)"
        )
    if 0 in list(value.shape):
        raise BadNetwork(
            f"input {value.name} of {path.name} has shape {value.shape}, which holds no image",
            hint="export it for one image or more",
        )
    dims = [dim if isinstance(dim, int) and dim > 0 else None for dim in value.shape]
    if dims[1] in (1, 3):
        layout, channels, height, width = "NCHW", dims[1], dims[2], dims[3]
    elif dims[3] in (1, 3):
        layout, channels, height, width = "NHWC", dims[3], dims[1], dims[2]
    else:
        raise BadNetwork(
            f"input {value.name} of {path.name} is no image: {value.shape} has no axis of 1 or 3 "
            f"channels"
        )
    if not all(side is None or side <= MAX_SIDE for side in (height, width)):
        raise BadNetwork(
            f"{path.name} takes {height} × {width} pixels; edgekit takes at most {MAX_SIDE} × "
            f"{MAX_SIDE}"
        )
    return ForeignInput(
        layout, channels, height, width, dims[0], _classes(model, path), _scaled_by(value)
    )


def _check_operators(model: ir.Model, path: Path) -> None:
    opset = opset_of(model)
    for node in model.graph:
        what = f"{node.op_type} in {node.name or node.outputs[0].name}"
        if node.op_type in _QUANTIZED:
            raise BadNetwork(
                f"{path.name} is quantized already ({what})", hint="give the FP32 graph"
            )
        if node.domain not in _OWN and node.op_identifier() not in model.functions:
            raise BadNetwork(
                f"{path.name} has operators that ONNX does not define ({what}, of {node.domain})",
                hint="give the graph as it was exported, before any runtime optimised it for "
                "itself",
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
    """Writes the graph with its input's shape fixed (``batch`` None leaves it dynamic), at an opset
    that the later steps can read.

    Raises:
        InputError: the graph was exported for another batch.
        BadNetwork: its operators are too old to be raised, or it is malformed in a way that its
            checker passes over.
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
    except ir.serde.SerdeError as error:  # names that are no text, for one, are found only now
        raise BadNetwork(
            f"{source.name} is malformed: {str(error.__cause__ or error).partition(chr(10))[0]}"
        ) from error


def _flatten_pixel(graph: ir.Graph) -> None:
    """Scores ``(N, classes, 1, 1)``, as networks without a linear layer give them, become ``(N,
    classes)``.
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
    """Whether a node takes its statistics from the batch, or drops what it is given. Older opsets
    said so by further outputs.
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
    """Whether a node makes half floats of a computed value; constants that are merely stored as
    such are folded.
    """
    return (
        node.op_type == "Cast"
        and int_attribute(node, "to", 0) in _HALVES
        and constant(node.inputs[0]) is None
    )


def _name_types(model: ir.Model) -> None:
    """CastLike takes its type from another value; where that depends on the image, nothing behind
    it can be folded.
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
    ):  # onnx sees no shape behind one; that of instances gives what it takes, as it does
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
            f"output {outputs[0].name} of {path.name} is {dtype}, which are no scores of classes",
            hint="leave the ArgMax at its end away",
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
            f"output {outputs[0].name} of {path.name} has shape {shape}, which is no class at all"
        )
    return classes
