"""Depthwise convolutions of very small feature maps as matrix products, on a CPU.

For maps of 1 × 1 to 4 × 4 pixels, the gradient of oneDNN's depthwise convolution takes 1.4 to
40 times as long as the same products in a batched matrix multiplication
(``python benchmarks/train.py depthwise``). Networks that halve the image five times have such maps
when they are trained on images of 32 to 64 pixels. In channels-last layout oneDNN is fast, except
for maps of 1 × 1 pixel, which are in both layouts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

LARGEST = 16  # pixels of the input

_Pair = tuple[int, int]


class SmallDepthwise(TorchFunctionMode):
    """Within this context, ``conv2d`` computes depthwise convolutions of small maps in the default
    layout on a CPU as matrix products. The results differ only by rounding.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func is torch.conv2d:
            small = _small(*args, **named)
            if small is not None:
                return depthwise(*small)
        return func(*args, **named)


def depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: _Pair, padding: _Pair
) -> Tensor:
    """A depthwise convolution. Each channel is one product: of its pixels ``(N, h · w)`` with a
    matrix ``(h · w, H · W)`` that holds its kernel.

    Args:
        x: ``(N, C, h, w)``.
        weight: ``(C, 1, kh, kw)``.
        bias: ``(C,)`` or None.
        stride: of rows and columns.
        padding: with zeros, of rows and columns.

    Returns:
        ``(N, C, H, W)``.
    """
    batch, channels, height, width = x.shape
    taps, rows, columns = _taps(
        (height, width), (weight.shape[2], weight.shape[3]), stride, padding, weight.dtype
    )
    products = (weight.flatten(1) @ taps).view(channels, height * width, rows * columns)
    y = torch.bmm(x.flatten(2).transpose(0, 1), products)
    y = y.transpose(0, 1).reshape(batch, channels, rows, columns)
    return y if bias is None else y + bias[:, None, None]


def _small(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None, _Pair, _Pair] | None:
    """The arguments of :func:`depthwise` for a call of ``conv2d``; None if that is not a depthwise
    convolution of a small map.
    """
    fits = (
        input.dim() == 4
        and input.device.type == "cpu"
        and groups == input.shape[1] == weight.shape[0] > 1
        and input.shape[2] * input.shape[3] <= LARGEST
        and input.is_contiguous()
        and not isinstance(padding, str)
        and _pair(dilation) == (1, 1)
    )
    return (input, weight, bias, _pair(stride), _pair(padding)) if fits else None


def _pair(value: Any) -> _Pair:
    first, last = (value, value) if isinstance(value, int) else (value[0], value[-1])
    return first, last


@lru_cache(maxsize=256)
def _taps(
    size: _Pair, kernel: _Pair, stride: _Pair, padding: _Pair, dtype: torch.dtype
) -> tuple[Tensor, int, int]:
    """Where each weight of the kernel is used: ``(kh · kw, h · w · H · W)`` of zeros and ones, and
    the size of the output.
    """
    rows, columns = (
        (n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True)
    )
    down, across = (
        _along(n, k, s, p, out)
        for n, k, s, p, out in zip(size, kernel, stride, padding, (rows, columns), strict=True)
    )
    taps = torch.einsum("kyY,lxX->klyxYX", down, across)
    return taps.reshape(kernel[0] * kernel[1], -1).to(dtype), rows, columns


def _along(size: int, kernel: int, stride: int, padding: int, out: int) -> Tensor:
    """One axis: 1 where output ``o`` reads input ``i`` with weight ``k``."""
    k, i, o = (torch.arange(n) for n in (kernel, size, out))
    return (i[None, :, None] == o * stride - padding + k[:, None, None]).float()
