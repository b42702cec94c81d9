"""Small INT8 networks with their weights stored in each form of Q/DQ graphs, and their outputs by
ONNX's reference implementation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgekit.artifact import Artifact, TensorSpec, sha256_of

Form = Literal["int8 codes, DQ of two inputs", "int8 codes, DQ", "fp32 weights, Q, DQ"]
FORMS: tuple[Form, ...] = ("int8 codes, DQ of two inputs", "int8 codes, DQ", "fp32 weights, Q, DQ")
Kind = Literal["conv", "depthwise"]
KINDS: tuple[Kind, ...] = ("conv", "depthwise")
Behind = Literal["Q", "relu, Q", "h-swish, Q", "float", "relu, float", "h-swish, float"]
BEHIND: tuple[Behind, ...] = (
    "Q",
    "relu, Q",
    "h-swish, Q",
    "float",
    "relu, float",
    "h-swish, float",
)
SHAPE = (1, 16, 32, 32)
SINGLE = (1, 64, 28, 28)
CLASSES = 16
OPSET = 17

Tensors = list[onnx.TensorProto]
Nodes = list[onnx.NodeProto]


@dataclass(frozen=True)
class Probe:
    """``expected`` are the outputs for ``feeds`` by ONNX's reference implementation."""

    artifact: Artifact
    feeds: Mapping[str, NDArray[np.float32]]
    output: str
    expected: NDArray[np.float32]


def write_probe(folder: Path, form: Form) -> Probe:
    """A convolution, a depthwise one, pooling and a matrix product, all read as INT8; seeded."""
    rng = np.random.default_rng(0)
    nodes: Nodes = []
    tensors: Tensors = [numpy_helper.from_array(np.zeros((), np.int8), "zero")]
    value = _read("image", 0.03, nodes, tensors)
    value = _layer(
        "conv",
        "Conv",
        value,
        rng.normal(size=(32, 16, 3, 3)),
        form,
        nodes,
        tensors,
        pads=[1, 1, 1, 1],
    )
    nodes.append(helper.make_node("Relu", [value], ["relu"], name="relu"))
    value = _layer(
        "depthwise",
        "Conv",
        _read("relu", 0.2, nodes, tensors),
        rng.normal(size=(32, 1, 3, 3)),
        form,
        nodes,
        tensors,
        group=32,
    )
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["pool"], name="pool"))
    nodes.append(helper.make_node("Flatten", ["pool"], ["flat"], name="flat"))
    value = _layer(
        "gemm",
        "Gemm",
        _read("flat", 0.05, nodes, tensors),
        rng.normal(size=(CLASSES, 32)),
        form,
        nodes,
        tensors,
        transB=1,
    )
    image, scores = (
        TensorSpec("image", SHAPE, "float32"),
        TensorSpec(value, (1, CLASSES), "float32"),
    )
    return _probe(
        folder / f"{form.replace(', ', '-').replace(' ', '-')}.onnx",
        nodes,
        tensors,
        image,
        scores,
        rng,
    )


def write_single(folder: Path, kind: Kind, behind: Behind) -> Probe:
    """One quantized convolution of 64 channels with what follows it, and a float output."""
    rng = np.random.default_rng(0)
    nodes: Nodes = []
    tensors: Tensors = [numpy_helper.from_array(np.zeros((), np.int8), "zero")]
    groups = SINGLE[1] if kind == "depthwise" else 1
    weight = rng.normal(size=(SINGLE[1], SINGLE[1] // groups, 3, 3))
    form: Form = "fp32 weights, Q, DQ"
    value = _layer(
        "conv",
        "Conv",
        _read("image", 0.03, nodes, tensors),
        weight,
        form,
        nodes,
        tensors,
        group=groups,
        pads=[1, 1, 1, 1],
    )
    if behind in ("relu, Q", "relu, float"):
        nodes.append(helper.make_node("Relu", [value], ["relu"], name="relu"))
        value = "relu"
    if behind in ("h-swish, Q", "h-swish, float"):
        nodes.append(helper.make_node("HardSwish", [value], ["swish"], name="swish"))
        value = "swish"
    if behind.endswith("Q"):
        value = _layer(
            "reader",
            "Conv",
            _read(value, 0.2, nodes, tensors),
            rng.normal(size=(64, 64, 1, 1)),
            form,
            nodes,
            tensors,
        )
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["pool"], name="pool"))
    image, scores = (
        TensorSpec("image", SINGLE, "float32"),
        TensorSpec("pool", (1, SINGLE[1], 1, 1), "float32"),
    )
    return _probe(
        folder / f"{kind}-{behind.replace(', ', '-')}.onnx", nodes, tensors, image, scores, rng
    )


def _probe(
    path: Path,
    nodes: Nodes,
    tensors: Tensors,
    image: TensorSpec,
    scores: TensorSpec,
    rng: np.random.Generator,
) -> Probe:
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info(image.name, TensorProto.FLOAT, image.shape)],
        [helper.make_tensor_value_info(scores.name, TensorProto.FLOAT, scores.shape)],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.save(model, path)
    feeds = {image.name: rng.normal(size=image.shape).astype(np.float32)}
    (expected,) = ReferenceEvaluator(_for_reference(model)).run(None, feeds)
    return Probe(
        Artifact(path, "onnx", "int8", (image,), (scores,), sha256_of(path)),
        feeds,
        scores.name,
        np.asarray(expected),
    )


def _read(name: str, scale: float, nodes: Nodes, tensors: Tensors) -> str:
    tensors.append(numpy_helper.from_array(np.array(scale, np.float32), f"{name}/scale"))
    nodes.append(
        helper.make_node(
            "QuantizeLinear", [name, f"{name}/scale", "zero"], [f"{name}/q"], name=f"{name}/q"
        )
    )
    nodes.append(
        helper.make_node(
            "DequantizeLinear",
            [f"{name}/q", f"{name}/scale", "zero"],
            [f"{name}/dq"],
            name=f"{name}/dq",
        )
    )
    return f"{name}/dq"


def _layer(
    name: str,
    kind: str,
    value: str,
    weight: NDArray[np.float64],
    form: Form,
    nodes: Nodes,
    tensors: Tensors,
    **attributes: int | list[int],
) -> str:
    scales = (np.abs(weight).reshape(len(weight), -1).max(1) / 127).astype(np.float32)
    codes = np.rint(weight / scales.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8)
    tensors.extend(_stored(name, codes, scales, form))
    stored = f"{name}/weight"
    if form == "fp32 weights, Q, DQ":
        nodes.append(
            helper.make_node(
                "QuantizeLinear",
                [stored, f"{name}/ws", f"{name}/wz"],
                [f"{name}/wq"],
                name=f"{name}/wq",
                axis=0,
            )
        )
        stored = f"{name}/wq"
    zero = [] if form == "int8 codes, DQ of two inputs" else [f"{name}/wz"]
    nodes.append(
        helper.make_node(
            "DequantizeLinear",
            [stored, f"{name}/ws", *zero],
            [f"{name}/wdq"],
            name=f"{name}/wdq",
            axis=0,
        )
    )
    if kind == "Conv":
        attributes["kernel_shape"] = list(
            weight.shape[2:]
        )  # TensorRT 8 does not infer it through a dequantizer
    nodes.append(helper.make_node(kind, [value, f"{name}/wdq"], [name], name=name, **attributes))
    return name


def _stored(
    name: str, codes: NDArray[np.int8], scales: NDArray[np.float32], form: Form
) -> Iterator[onnx.TensorProto]:
    weight = (
        codes * scales.reshape(-1, *[1] * (codes.ndim - 1))
        if form == "fp32 weights, Q, DQ"
        else codes
    )
    yield numpy_helper.from_array(weight, f"{name}/weight")
    yield numpy_helper.from_array(scales, f"{name}/ws")
    yield numpy_helper.from_array(np.zeros(len(scales), np.int8), f"{name}/wz")


def _for_reference(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same numbers as ONNX's reference implementation reads them: quantizers of opset 19 with
    all zero points.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.opset_import[0].version = 19
    for node in copy.graph.node:
        if node.op_type == "DequantizeLinear" and len(node.input) == 2:
            node.input.append(node.name.replace("/wdq", "/wz"))
    return copy
