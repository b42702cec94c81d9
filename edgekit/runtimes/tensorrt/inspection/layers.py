"""Describes one TensorRT layer, from a network before the build or from an engine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

LayerPrecision = Literal["int8", "fp16", "fp32", "other"]
LayerRole = Literal["compute", "reformat", "other"]

_ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
WIDTH: dict[LayerPrecision, int] = {"other": 0, "int8": 1, "fp16": 2, "fp32": 3}
# TensorRT's format descriptions name a type once: "Half", "Row major linear FP16 format",
# "Thirty-two wide channel vectorized row major Int8 format".
_TYPES: tuple[tuple[re.Pattern[str], LayerPrecision], ...] = (
    (
        re.compile(
            r"\bu?int(16|32|64)\b|\bbool\b|\bfp8\b|\bfp4\b|\bint4\b|\buint8\b|\bbf(loat)?16\b|\bdouble\b",
            re.I,
        ),
        "other",
    ),
    (re.compile(r"\bint8\b", re.I), "int8"),
    (re.compile(r"\bfp16\b|\bhalf\b|\bfloat16\b", re.I), "fp16"),
    (re.compile(r"\bfp32\b|\bfloat\b|\bfloat32\b", re.I), "fp32"),
)
# Names of nodes that convert types: edgekit's own casts, ONNX nodes named after their operator, and
# TensorRT's names for unnamed layers.
_CONVERSION = re.compile(
    r"\|(fp16|fp32|cast)$|(^|[/_.:])((Quant|Dequant)(ize)?Linear(Node_)?|Cast)(_\d+)?$|\[(Cast|Quantize|Dequantize)\]$"
)
_FUSED = re.compile(r" \+ | \|\| ")  # " + ": in sequence; " || ": in parallel


@dataclass(frozen=True)
class EngineTensor:
    """``format`` is TensorRT's description, which includes the type: ``Row major linear FP16
    format``, or only ``Half``.
    """

    name: str
    shape: tuple[int, ...]
    format: str

    @property
    def precision(self) -> LayerPrecision:
        return precision_of(self.format)


@dataclass(frozen=True)
class EngineLayer:
    """``kind`` is TensorRT's layer type. ``onnx_layers`` are the ONNX nodes that are fused into
    this layer.

    ``role``: ``reformat`` converts types or layouts, ``other`` moves no data or holds constants,
    ``compute`` is every other layer. ``matrix`` marks convolutions and matrix products, where a
    lower precision saves the most time. ``tactic`` is the name of the kernel, if known.
    """

    name: str
    kind: str
    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    precision: LayerPrecision
    tactic: str = ""
    onnx_layers: tuple[str, ...] = field(default=())
    role: LayerRole = "compute"
    matrix: bool = False

    @property
    def on_dla(self) -> bool:
        """Whether a Deep Learning Accelerator runs this layer of an engine. The inspector reports
        the nodes that run there together as one layer of the type DLA.
        """
        return self.kind == "DLA"


def precision_of(description: str) -> LayerPrecision:
    """The type that a format description names."""
    return next(
        (precision for pattern, precision in _TYPES if pattern.search(description)), "other"
    )


def widest(tensors: Iterable[EngineTensor]) -> LayerPrecision:
    return max((tensor.precision for tensor in tensors), key=WIDTH.__getitem__, default="other")


def narrowest(tensors: Iterable[EngineTensor]) -> LayerPrecision:
    numbers = [tensor.precision for tensor in tensors if tensor.precision != "other"]
    return min(numbers, key=WIDTH.__getitem__, default="other")


def onnx_names(metadata: str, name: str) -> tuple[str, ...]:
    """The ONNX nodes of a layer: from its metadata if the parser wrote it, else from its name,
    where TensorRT 8 lists the fused nodes.
    """
    found = _ONNX_LAYER.findall(metadata or "") or [
        node for part in _FUSED.split(name) for node in _pointwise(part.strip())
    ]
    return tuple(dict.fromkeys(filter(None, found)))


def _pointwise(part: str) -> list[str]:
    """The nodes of a fusion of pointwise nodes, ``PWN(PWN(a, b), c)``."""
    if not (part.startswith("PWN(") and part.endswith(")")):
        return [part]
    inner, depth, begin, found = part[4:-1], 0, 0, list[str]()
    for i, letter in enumerate(inner + ","):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            found += _pointwise(inner[begin:i].strip())
            begin = i + 1
    return found


def converts(names: Iterable[str]) -> bool:
    """Whether all of these nodes only convert types: Cast, QuantizeLinear and DequantizeLinear."""
    listed = list(names)
    return bool(listed) and all(_CONVERSION.search(name) for name in listed)
