"""Rounds weights to int8: chooses the step of each output channel and the direction of rounding.

``nearest`` rounds each weight separately. ``adaptive`` minimizes the change of the layer's output
on real activations. The error of one weight is carried over to the weights that are not yet
rounded, in proportion to the covariance of their inputs. Then single weights move up or down while
the error falls. Bias correction removes the remaining shift of the mean.

Sources: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020,
arXiv:2004.10568 (the objective, layer by layer); Frantar et al., "GPTQ", ICLR 2023,
arXiv:2210.17323 (closed form with the Cholesky factor of the inverse Hessian).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rounding = Literal["nearest", "adaptive"]
WMAX = 127
FRACTIONS = tuple(float(f) for f in np.linspace(0.5, 1.0, 26))
DAMPING = 0.01
SWEEPS = 2
BLOCK = 128  # columns
CACHED = 2**17  # numbers at once, so that they fit in the CPU cache
SMALLEST = 2.0**-100  # smallest step, for a weight that is all zeros
DEAD = (
    2.0**-20
    # relative to the layer's largest weight: a channel below it is dead, and a step for such small
    # weights would be a subnormal number
)


@dataclass(frozen=True)
class QuantizedWeight:
    """``values`` are int8 in the weight's shape; ``scales`` has one scale per output channel along
    ``axis``.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    axis: int

    def dequantized(self) -> NDArray[np.float32]:
        shape = [1] * self.values.ndim
        shape[self.axis] = -1
        return self.values.astype(np.float32) * self.scales.reshape(shape)


def steps(rows: Tensor, importance: Tensor | None = None) -> Tensor:
    """The step ``(..., O)`` of each row of ``(..., O, K)`` with the least squared rounding error,
    weighted by ``importance`` ``(..., K)``.
    """
    magnitudes = rows.abs().amax(-1)
    largest = magnitudes.clamp_min(max(float(magnitudes.max()) * DEAD, SMALLEST))
    count = max(1, CACHED // rows.shape[-1])
    parts = zip(torch.split(rows, count, -2), torch.split(largest, count, -1), strict=True)
    return torch.cat([_best_steps(part, reach, importance) for part, reach in parts], -1)


def _best_steps(rows: Tensor, largest: Tensor, importance: Tensor | None) -> Tensor:
    best, least = largest / WMAX, torch.full_like(largest, float("inf"))
    for fraction in FRACTIONS:
        step = largest * fraction / WMAX
        error = (_to_grid(rows, step) - rows).square()
        total = (error if importance is None else error * importance.unsqueeze(-2)).sum(-1)
        better = total < least
        best, least = torch.where(better, step, best), torch.where(better, total, least)
    return best


def nearest(rows: Tensor, step: Tensor) -> Tensor:
    """Rounds every weight to its nearest level. Returns integers as floats."""
    return torch.clamp(torch.round(rows / step.unsqueeze(-1)), -WMAX, WMAX)


def adaptive(rows: Tensor, step: Tensor, covariance: Tensor) -> Tensor:
    """Rounds rows ``(G, O, K)`` so that the layer's outputs differ least from the float outputs.
    The inputs have the ``covariance`` ``(G, K, K)``.

    Returns:
        Integers as floats, ``(G, O, K)``.
    """
    hessian = covariance.double()
    damping = (DAMPING * hessian.diagonal(dim1=-2, dim2=-1).mean(-1)).clamp_min(1e-12)
    hessian = hessian + damping[:, None, None] * torch.eye(hessian.shape[-1], dtype=torch.float64)
    target, scale = rows.double(), step.double()
    levels = _carry_errors(target, scale, hessian)
    return _descend(target, scale, hessian, levels).float()


def _carry_errors(target: Tensor, scale: Tensor, hessian: Tensor) -> Tensor:
    order = hessian.diagonal(dim1=-2, dim2=-1).mean(0).argsort(descending=True)
    factor = torch.linalg.cholesky(torch.linalg.inv(hessian[:, order][:, :, order]), upper=True)
    left = target[..., order].clone()
    levels = torch.empty_like(left)
    for block in _blocks(left.shape[-1]):
        here, own = left[..., block].clone(), factor[:, block, block]
        errors = torch.empty_like(here)
        for i in range(here.shape[-1]):
            level = torch.clamp(torch.round(here[..., i] / scale), -WMAX, WMAX)
            errors[..., i] = (here[..., i] - level * scale) / own[:, i, i, None]
            here[..., i + 1 :] -= errors[..., i, None] * own[:, None, i, i + 1 :]
            levels[..., block.start + i] = level
        left[..., block.stop :] -= errors @ factor[:, block, block.stop :]
    result = torch.empty_like(levels)
    result[..., order] = levels
    return result


def _descend(target: Tensor, scale: Tensor, hessian: Tensor, levels: Tensor) -> Tensor:
    """Moves one weight at a time to its best level, with all others fixed. The error never
    rises.
    """
    levels = levels.clone()
    pull = (target - levels * scale.unsqueeze(-1)) @ hessian
    for _ in range(SWEEPS):
        for block in _blocks(levels.shape[-1]):
            here, own = pull[..., block].clone(), hessian[:, block, block]
            moved = torch.empty_like(here)
            for j in range(here.shape[-1]):
                old = levels[..., block.start + j]
                level = torch.clamp(
                    torch.round(old + here[..., j] / (own[:, j, j, None] * scale)), -WMAX, WMAX
                )
                moved[..., j] = (level - old) * scale
                here -= moved[..., j, None] * own[:, None, j]
                levels[..., block.start + j] = level
            pull -= moved @ hessian[:, block]
    return levels


def _blocks(count: int) -> list[slice]:
    """Blocks of columns. Columns inside a block are processed one by one; the update of the columns
    outside is one matrix product per block.
    """
    return [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


def _to_grid(rows: Tensor, step: Tensor) -> Tensor:
    return nearest(rows, step) * step.unsqueeze(-1)
