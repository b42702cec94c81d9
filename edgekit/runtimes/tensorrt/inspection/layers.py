"""One layer as TensorRT tells of it, whether from a network before it is built or from an
engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

LayerPrecision = Literal["int8", "fp16", "fp32", "other"]
LayerRole = Literal["compute", "reformat", "other"]

_ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_RANK: dict[LayerPrecision, int] = {"other": 0, "int8": 1, "fp16": 2, "fp32": 3}
# TensorRT's descriptions name a type once: "Half", "Row major linear FP16 format", "Thirty-two wide
# channel vectorized row major Int8 format".
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
# Nodes that convert: edgekit's own casts, ONNX nodes named for their operator, and what TensorRT
# calls layers that were given no name.
_CONVERSION = re.compile(
    r"\|(fp16|fp32|cast)$|(^|[/_.:])((Quant|Dequant)(ize)?Linear(Node_)?|Cast)(_\d+)?$|\[(Cast|Quantize|Dequantize)\]$"
)
_FUSED = re.compile(r" \+ | \|\| ")  # one after the other, and side by side


@dataclass(frozen=True)
class EngineTensor:
    """``format`` is TensorRT's own description, type included: ``Row major linear FP16 format``, or
    only ``Half``.
    """

    name: str
    shape: tuple[int, ...]
    format: str

    @property
    def precision(self) -> LayerPrecision:
        return precision_of(self.format)


@dataclass(frozen=True)
class EngineLayer:
    """``kind`` is TensorRT's type of layer; ``onnx_layers`` are the nodes that it computes, fused
    into one.

    ``role``: ``reformat`` converts types or layouts, ``other`` moves no data or holds constants,
    ``compute`` is the rest. ``matrix`` marks convolutions and matrix products, which is where
    precision pays. ``tactic`` is the kernel where the library names it.
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


def precision_of(description: str) -> LayerPrecision:
    """The type that a format's description names."""
    return next(
        (precision for pattern, precision in _TYPES if pattern.search(description)), "other"
    )


def widest(tensors: Iterable[EngineTensor]) -> LayerPrecision:
    return max((tensor.precision for tensor in tensors), key=_RANK.__getitem__, default="other")


def narrowest(tensors: Iterable[EngineTensor]) -> LayerPrecision:
    numbers = [tensor.precision for tensor in tensors if tensor.precision != "other"]
    return min(numbers, key=_RANK.__getitem__, default="other")


def onnx_names(metadata: str, name: str) -> tuple[str, ...]:
    """The ONNX nodes of a layer: from its metadata, where the parser left any, else from its name
    as TensorRT 8 writes what it fused.
    """
    found = _ONNX_LAYER.findall(metadata or "") or [
        node for part in _FUSED.split(name) for node in _pointwise(part.strip())
    ]
    return tuple(dict.fromkeys(filter(None, found)))


def _pointwise(part: str) -> list[str]:
    """``PWN(PWN(a, b), c)``, a fusion of pointwise nodes, to its nodes."""
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
    """Whether all of these nodes only convert between types: casts, QuantizeLinear and
    DequantizeLinear.
    """
    listed = list(names)
    return bool(listed) and all(_CONVERSION.search(name) for name in listed)
