"""Convolutions, pooling and normalization: operators over windows of a feature map, or over the
whole map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.quantization.operators.arguments import (
    Attributes,
    Inputs,
    Operator,
    given,
    one,
    optional,
    two,
)


def pad(
    attributes: Attributes, x: Tensor, kernel: Sequence[int], fill: float
) -> tuple[Tensor, tuple[int, ...]]:
    """Pads an input with the attributes of a convolution or pooling. Returns the padded input and
    the padding ``(height, width)`` if it is symmetric, else zeros.
    """
    dims = len(kernel)
    strides, dilations = (
        attributes.get("strides", [1] * dims),
        attributes.get("dilations", [1] * dims),
    )
    begin_end = list(attributes.get("pads", [0] * 2 * dims))
    mode = attributes.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        for d in range(dims):
            size = x.shape[2 + d]
            total = max(
                0,
                (-(-size // strides[d]) - 1) * strides[d]
                + (kernel[d] - 1) * dilations[d]
                + 1
                - size,
            )
            small, large = total // 2, total - total // 2
            begin_end[d], begin_end[dims + d] = (
                (small, large) if mode == "SAME_UPPER" else (large, small)
            )
    begin, end = begin_end[:dims], begin_end[dims:]
    if any(begin_end):
        x = F.pad(
            x,
            [p for pair in zip(reversed(begin), reversed(end), strict=True) for p in pair],
            value=fill,
        )
    return x, tuple(begin) if begin == end else (0,) * dims


def _conv(a: Attributes, i: Inputs) -> Tensor:
    x, weight = two(i)
    dims = weight.ndim - 2
    strides, dilations = a.get("strides", [1] * dims), a.get("dilations", [1] * dims)
    pads = list(a.get("pads", [0] * 2 * dims))
    if a.get("auto_pad", "NOTSET") in ("NOTSET", "VALID") and pads[:dims] == pads[dims:]:
        padding = tuple(pads[:dims])
    else:
        x, padding = pad(a, x, weight.shape[2:], 0.0)[0], (0,) * dims
    convolve: Any = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    result: Tensor = convolve(
        x, weight, optional(i, 2), strides, padding, dilations, a.get("group", 1)
    )
    return result


def _conv_transpose(a: Attributes, i: Inputs) -> Tensor:
    """Computes without padding, then crops the result, because padding may differ between sides."""
    x, weight = given(i)[:2]
    dims = weight.ndim - 2
    strides, dilations = a.get("strides", [1] * dims), a.get("dilations", [1] * dims)
    more = list(a.get("output_padding", [0] * dims))
    for d, wanted in enumerate(a.get("output_shape", ())):
        size = (x.shape[2 + d] - 1) * strides[d] + (weight.shape[2 + d] - 1) * dilations[d] + 1
        more[d] = max(more[d], wanted - size)
    convolve: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dims - 1]
    whole: Tensor = convolve(
        x, weight, optional(i, 2), strides, 0, more, a.get("group", 1), dilations
    )
    begin, end = _cut_off(a, x.shape[2:], whole.shape[2:], strides)
    for d in range(dims):
        whole = whole.narrow(2 + d, begin[d], whole.shape[2 + d] - begin[d] - end[d])
    return whole


def _cut_off(
    a: Attributes, size: Sequence[int], whole: Sequence[int], strides: Sequence[int]
) -> tuple[list[int], list[int]]:
    """How much a transposed convolution's padding crops at the start and the end of each axis."""
    mode, dims = a.get("auto_pad", "NOTSET"), len(size)
    wanted = a.get("output_shape") or (
        [n * s for n, s in zip(size, strides, strict=True)] if mode.startswith("SAME") else None
    )
    if wanted is None:
        pads = list(a.get("pads", [0] * 2 * dims)) if mode == "NOTSET" else [0] * 2 * dims
        return pads[:dims], pads[dims:]
    total = [n - w for n, w in zip(whole, wanted, strict=True)]
    small, large = [n // 2 for n in total], [n - n // 2 for n in total]
    return (small, large) if mode == "SAME_UPPER" else (large, small)


def _max_pool(a: Attributes, i: Inputs) -> Tensor:
    x, kernel = one(i), a["kernel_shape"]
    strides, dilations = _steps(a)
    pool: Any = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(kernel) - 1]
    padded, _ = pad(a, x, kernel, float("-inf"))
    return _started(a, x, pool(padded, kernel, strides, 0, dilations, bool(a.get("ceil_mode", 0))))


def _average_pool(a: Attributes, i: Inputs) -> Tensor:
    x, kernel = one(i), a["kernel_shape"]
    strides, dilations = _steps(a)
    if any(step != 1 for step in dilations):
        return _dilated_average(a, x, strides, dilations)
    ceil = bool(a.get("ceil_mode", 0))
    pool: Any = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(kernel) - 1]
    padded, _ = pad(a, x, kernel, 0.0)
    mean = _started(a, x, pool(padded, kernel, strides, 0, ceil))
    if padded is x or a.get("count_include_pad", 0):
        return mean
    counted, _ = pad(a, torch.ones_like(x[:, :1]), kernel, 0.0)
    return mean / _started(a, x, pool(counted, kernel, strides, 0, ceil))


def _steps(a: Attributes) -> tuple[Sequence[int], Sequence[int]]:
    """The strides and dilations of a pooling."""
    ones = [1] * len(a["kernel_shape"])
    return a.get("strides", ones), a.get("dilations", ones)


def _started(a: Attributes, x: Tensor, pooled: Tensor) -> Tensor:
    """The pooled ``x`` without the windows that start in the padding at the end."""
    strides, dims = _steps(a)[0], x.ndim - 2
    begin = a.get("pads", [0] * dims)
    for d in range(dims) if a.get("auto_pad", "NOTSET") == "NOTSET" else ():
        starts = -(-(x.shape[2 + d] + begin[d]) // strides[d])
        pooled = pooled.narrow(2 + d, 0, min(starts, pooled.shape[2 + d]))
    return pooled


def _dilated_average(
    a: Attributes, x: Tensor, strides: Sequence[int], dilations: Sequence[int]
) -> Tensor:
    """The sum of each window, divided by the number of its elements."""
    kernel, channels = a["kernel_shape"], x.shape[1]
    convolve: Any = (F.conv1d, F.conv2d, F.conv3d)[len(kernel) - 1]

    def added(values: Tensor, fill: float) -> Tensor:
        padded, _ = pad(a, values, kernel, fill)
        rest = [
            -(padded.shape[2 + d] - (kernel[d] - 1) * dilations[d] - 1) % strides[d]
            for d in range(len(kernel))
        ]
        if a.get("ceil_mode", 0):
            padded = F.pad(padded, [p for more in reversed(rest) for p in (0, more)])
        total: Tensor = convolve(
            padded, torch.ones(channels, 1, *kernel), None, strides, 0, dilations, channels
        )
        return _started(a, x, total)

    return added(x, 0.0) / added(torch.ones_like(x), float(a.get("count_include_pad", 0)))


def _lrn(a: Attributes, i: Inputs) -> Tensor:
    return F.local_response_norm(
        one(i), a["size"], a.get("alpha", 1e-4), a.get("beta", 0.75), a.get("bias", 1.0)
    )


def _batch_norm(a: Attributes, i: Inputs) -> Tensor:
    return F.batch_norm(
        one(i),
        optional(i, 3),
        optional(i, 4),
        optional(i, 1),
        optional(i, 2),
        False,
        0.0,
        a.get("epsilon", 1e-5),
    )


def _layer_norm(a: Attributes, i: Inputs) -> Tensor:
    x, scale = given(i)[:2]
    normal = (
        F.layer_norm(x, x.shape[a.get("axis", -1) % x.ndim :], None, None, a.get("epsilon", 1e-5))
        * scale
    )
    bias = optional(i, 2)
    return normal if bias is None else normal + bias


def _instance_norm(a: Attributes, i: Inputs) -> Tensor:
    x, scale, bias = given(i)
    variance, mean = torch.var_mean(x, tuple(range(2, x.ndim)), correction=0, keepdim=True)
    by_channel = (-1, *(1,) * (x.ndim - 2))
    return (x - mean) / torch.sqrt(variance + a.get("epsilon", 1e-5)) * scale.reshape(
        by_channel
    ) + bias.reshape(by_channel)


def _group_norm(a: Attributes, i: Inputs) -> Tensor:
    x, scale, bias = given(i)
    return F.group_norm(x, a["num_groups"], scale, bias, a.get("epsilon", 1e-5))


OPERATORS: dict[str, Operator] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda a, i: one(i).mean(tuple(range(2, one(i).ndim)), keepdim=True),
    "GlobalMaxPool": lambda a, i: one(i).amax(tuple(range(2, one(i).ndim)), keepdim=True),
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "LRN": _lrn,
}
