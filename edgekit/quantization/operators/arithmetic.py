"""Elementwise operators, reductions, and matrix products."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.quantization.operators.arguments import (
    Attributes,
    Inputs,
    Operator,
    axes_of,
    given,
    one,
    optional,
    two,
)


def _gemm(a: Attributes, i: Inputs) -> Tensor:
    x, weight = two(i)
    product = (
        (x.T if a.get("transA") else x)
        @ (weight.T if a.get("transB") else weight)
        * a.get("alpha", 1.0)
    )
    bias = optional(i, 2)
    result: Tensor = product if bias is None else product + a.get("beta", 1.0) * bias
    return result


def _clip(a: Attributes, i: Inputs) -> Tensor:
    x, bounds = one(i), (optional(i, 1), optional(i, 2))
    low, high = (None if bound is None else bound.item() for bound in bounds)
    if low is not None and high is not None and low < high and x.is_floating_point():
        return F.hardtanh(x, low, high)  # its gradient is one pass, that of clamp is four
    return x if low is None and high is None else torch.clamp(x, low, high)


def _div(a: Attributes, i: Inputs) -> Tensor:
    x, divisor = two(i)
    return torch.div(x, divisor, rounding_mode=None if x.is_floating_point() else "trunc")


def _selu(a: Attributes, i: Inputs) -> Tensor:
    gamma, alpha = a.get("gamma", 1.0507010221481323), a.get("alpha", 1.6732631921768188)
    return F.elu(one(i), alpha) * float(gamma)


def _reduction(
    reduced: Callable[[Tensor, tuple[int, ...], bool], Tensor],
) -> Callable[[Attributes, Inputs], Tensor]:
    def call(a: Attributes, i: Inputs) -> Tensor:
        x, axes = one(i), axes_of(a, i)
        if not axes and a.get("noop_with_empty_axes"):
            return x
        return reduced(x, tuple(axes or range(x.ndim)), bool(a.get("keepdims", 1)))

    return call


def _prelu(a: Attributes, i: Inputs) -> Tensor:
    x, slope = given(i)
    return torch.where(x >= 0, x, x * slope)


def _each(function: Callable[..., Tensor]) -> Callable[[Attributes, Inputs], Tensor]:
    return lambda a, i: function(*given(i))


OPERATORS: dict[str, Operator] = {
    "Gemm": _gemm,
    "MatMul": _each(torch.matmul),
    "Add": _each(torch.add),
    "Sub": _each(torch.sub),
    "Mul": _each(torch.mul),
    "Div": _div,
    "Relu": _each(torch.relu),
    "Clip": _clip,
    "Min": lambda a, i: reduce(torch.minimum, given(i)),
    "Max": lambda a, i: reduce(torch.maximum, given(i)),
    "Sigmoid": _each(torch.sigmoid),
    "HardSigmoid": lambda a, i: F.hardtanh(
        a.get("alpha", 0.2) * one(i) + a.get("beta", 0.5), 0.0, 1.0
    ),
    "HardSwish": _each(F.hardswish),
    "LeakyRelu": lambda a, i: F.leaky_relu(one(i), a.get("alpha", 0.01)),
    "Tanh": _each(torch.tanh),
    "Softmax": lambda a, i: torch.softmax(one(i), a.get("axis", -1)),
    "ReduceMean": _reduction(torch.mean),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMin": _reduction(torch.amin),
    "ReduceSum": _reduction(torch.sum),
    "ReduceL2": _reduction(
        lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)
    ),
    "PRelu": _prelu,
    "Elu": lambda a, i: F.elu(one(i), a.get("alpha", 1.0)),
    "Selu": _selu,
    "Celu": lambda a, i: F.celu(one(i), a.get("alpha", 1.0)),
    "Softplus": _each(F.softplus),
    "Softsign": _each(F.softsign),
    "LogSoftmax": lambda a, i: F.log_softmax(one(i), a.get("axis", -1)),
    "Gelu": lambda a, i: F.gelu(one(i), approximate=a.get("approximate", "none")),
    "Mish": _each(F.mish),
    "Erf": _each(torch.erf),
    "Exp": _each(torch.exp),
    "Log": _each(torch.log),
    "Sqrt": _each(torch.sqrt),
    "Reciprocal": _each(torch.reciprocal),
    "Neg": _each(torch.neg),
    "Abs": _each(torch.abs),
    "Pow": lambda a, i: torch.pow(*two(i)).to(one(i).dtype),
    "Sum": lambda a, i: reduce(torch.add, given(i)),
    "Where": _each(torch.where),
    "Equal": _each(torch.eq),
    "Floor": _each(torch.floor),
    "Ceil": _each(torch.ceil),
    "Einsum": lambda a, i: torch.einsum(a["equation"], *given(i)),
}
