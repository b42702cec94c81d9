"""Further operators as PyTorch computes them: those of transformers, of gates and of networks that upsample.

Source: the operators' definitions at onnx.ai; each is compared with ONNX Runtime by a test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_Attributes = Mapping[str, Any]
_Inputs = Sequence[Tensor | None]


def _given(inputs: _Inputs) -> list[Tensor]:
    return [tensor for tensor in inputs if tensor is not None]


def _optional(inputs: _Inputs, position: int) -> Tensor | None:
    return inputs[position] if len(inputs) > position else None


def _conv_transpose(a: _Attributes, i: _Inputs) -> Tensor:
    """Unpadded first; what padding takes away is cut off then, since it may differ from side to side."""
    x, weight = _given(i)[:2]
    dims = weight.ndim - 2
    strides, dilations, more = a.get("strides", [1] * dims), a.get("dilations", [1] * dims), a.get("output_padding", [0] * dims)
    convolve: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dims - 1]
    whole: Tensor = convolve(x, weight, _optional(i, 2), strides, 0, more, a.get("group", 1), dilations)
    begin, end = _cut_off(a, x.shape[2:], whole.shape[2:], strides)
    for d in range(dims):
        whole = whole.narrow(2 + d, begin[d], whole.shape[2 + d] - begin[d] - end[d])
    return whole


def _cut_off(a: _Attributes, size: Sequence[int], whole: Sequence[int], strides: Sequence[int]) -> tuple[list[int], list[int]]:
    """What a transposed convolution's padding takes away from the front and the end of each axis."""
    mode, dims = a.get("auto_pad", "NOTSET"), len(size)
    wanted = a.get("output_shape") or ([n * s for n, s in zip(size, strides, strict=True)] if mode.startswith("SAME") else None)
    if wanted is None:
        pads = list(a.get("pads", [0] * 2 * dims)) if mode == "NOTSET" else [0] * 2 * dims
        return pads[:dims], pads[dims:]
    total = [n - w for n, w in zip(whole, wanted, strict=True)]
    small, large = [n // 2 for n in total], [n - n // 2 for n in total]
    return (small, large) if mode == "SAME_UPPER" else (large, small)


def _layer_norm(a: _Attributes, i: _Inputs) -> Tensor:
    x, scale = _given(i)[:2]
    normal = F.layer_norm(x, x.shape[a.get("axis", -1) % x.ndim :], None, None, a.get("epsilon", 1e-5)) * scale
    bias = _optional(i, 2)
    return normal if bias is None else normal + bias


def _instance_norm(a: _Attributes, i: _Inputs) -> Tensor:
    x, scale, bias = _given(i)
    variance, mean = torch.var_mean(x, tuple(range(2, x.ndim)), correction=0, keepdim=True)
    by_channel = (-1, *(1,) * (x.ndim - 2))
    return (x - mean) / torch.sqrt(variance + a.get("epsilon", 1e-5)) * scale.reshape(by_channel) + bias.reshape(by_channel)


def _group_norm(a: _Attributes, i: _Inputs) -> Tensor:
    x, scale, bias = _given(i)
    return F.group_norm(x, a["num_groups"], scale, bias, a.get("epsilon", 1e-5))


def _reduction(reduced: Callable[[Tensor, tuple[int, ...], bool], Tensor]) -> Callable[[_Attributes, _Inputs], Tensor]:
    def call(a: _Attributes, i: _Inputs) -> Tensor:
        x, given = _given(i)[0], _optional(i, 1)
        axes = a.get("axes") if given is None else given.tolist()
        if not axes and a.get("noop_with_empty_axes"):
            return x
        return reduced(x, tuple(axes or range(x.ndim)), bool(a.get("keepdims", 1)))

    return call


def _depth_to_space(a: _Attributes, i: _Inputs) -> Tensor:
    x, block = _given(i)[0], a["blocksize"]
    if a.get("mode", "DCR") == "DCR":
        x = _transposed(x, block * block)
    return F.pixel_shuffle(x, block)


def _space_to_depth(a: _Attributes, i: _Inputs) -> Tensor:
    x, block = _given(i)[0], a["blocksize"]
    return _transposed(F.pixel_unshuffle(x, block), x.shape[1])


def _transposed(x: Tensor, rows: int) -> Tensor:
    """Channels that count the columns of a matrix of ``rows`` fastest, counting its rows fastest."""
    n, c, h, w = x.shape
    return x.reshape(n, rows, c // rows, h, w).transpose(1, 2).reshape(n, c, h, w)


def _prelu(a: _Attributes, i: _Inputs) -> Tensor:
    x, slope = _given(i)
    return torch.where(x >= 0, x, x * slope)


def _gelu(a: _Attributes, i: _Inputs) -> Tensor:
    return F.gelu(_given(i)[0], approximate=a.get("approximate", "none"))


def _expand(a: _Attributes, i: _Inputs) -> Tensor:
    x, shape = _given(i)
    return x.expand(np.broadcast_shapes(x.shape, tuple(shape.tolist())))


def _cast(a: _Attributes, i: _Inputs) -> Tensor:
    return _given(i)[0].to(_TYPES[a["to"]])


def _shape(a: _Attributes, i: _Inputs) -> Tensor:
    return torch.tensor(_given(i)[0].shape[a.get("start", 0) : a.get("end")])


def _constant_of_shape(a: _Attributes, i: _Inputs) -> Tensor:
    fill = torch.as_tensor(np.array(a["value"]).ravel()) if "value" in a else torch.zeros(1)
    return fill.expand(_given(i)[0].tolist())


def _each(function: Callable[..., Tensor]) -> Callable[[_Attributes, _Inputs], Tensor]:
    return lambda a, i: function(*_given(i))


# ONNX's numbers of types.
_TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 11: torch.float64}

OPERATORS: dict[str, Callable[[_Attributes, _Inputs], Tensor]] = {
    "ConvTranspose": _conv_transpose,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "ReduceMax": _reduction(torch.amax),
    "ReduceMin": _reduction(torch.amin),
    "ReduceSum": _reduction(torch.sum),
    "ReduceL2": _reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
    "GlobalMaxPool": lambda a, i: _given(i)[0].amax(tuple(range(2, _given(i)[0].ndim)), keepdim=True),
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "PRelu": _prelu,
    "Elu": lambda a, i: F.elu(_given(i)[0], a.get("alpha", 1.0)),
    "Selu": _each(F.selu),
    "Celu": lambda a, i: F.celu(_given(i)[0], a.get("alpha", 1.0)),
    "Softplus": _each(F.softplus),
    "Softsign": _each(F.softsign),
    "LogSoftmax": lambda a, i: F.log_softmax(_given(i)[0], a.get("axis", -1)),
    "Gelu": _gelu,
    "Mish": _each(F.mish),
    "Erf": _each(torch.erf),
    "Exp": _each(torch.exp),
    "Log": _each(torch.log),
    "Sqrt": _each(torch.sqrt),
    "Reciprocal": _each(torch.reciprocal),
    "Neg": _each(torch.neg),
    "Abs": _each(torch.abs),
    "Pow": _each(torch.pow),
    "Sum": lambda a, i: reduce(torch.add, _given(i)),
    "Where": _each(torch.where),
    "Expand": _expand,
    "Cast": _cast,
    "Shape": _shape,
    "ConstantOfShape": _constant_of_shape,
    "Equal": _each(torch.eq),
    "Floor": _each(torch.floor),
    "Ceil": _each(torch.ceil),
    "Einsum": lambda a, i: torch.einsum(a["equation"], *_given(i)),
}
