"""The INT8 network with fake quantization and gradients for all learned parameters. The quantizers
are placed by the same rules as in the written graph.

Sources: Esser et al., "Learned Step Size Quantization", ICLR 2020, arXiv:1902.08153 (the gradient
of a step); Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, arXiv:1712.05877 (training with rounded weights).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import exp, log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.quantization.execute import Step, TorchGraph
from edgekit.quantization.placement import Placement
from edgekit.quantization.rounding import WMAX, QuantizedWeight
from edgekit.quantization.twin import Grid
from edgekit.quantization.weights import Weights

RATES = {
    "range": 1e-3,
    "weight": 5e-4,
    "bias": 5e-4,
    "code": 5e-3,
}  # rates of two logarithms, of a bias in standard deviations of the output, and of codes
INSIDE = 0.49  # of a code; a weight starts inside the range that rounds to its code


class FakeQuantized:
    """The int8 network as a function of the learned parameters: the logarithms of the steps
    relative to the initial ones, the shifts of the biases and, with ``with_codes``, the codes of
    the weights before they are rounded.

    Args:
        network: the float network; must be differentiable.
        placement: the quantized values and layers.
        grids: the initial grids of the values.
        weights: the initial weights.
        widest: the largest allowed step of each value's grid.
        image: one image, for the spread of each layer's output.
        with_codes: whether the codes are learned as well, as in quantization-aware training.
    """

    def __init__(
        self,
        network: TorchGraph,
        placement: Placement,
        grids: Mapping[str, Grid],
        weights: Weights,
        widest: Mapping[str, float],
        image: NDArray[np.float32],
        *,
        with_codes: bool = False,
    ) -> None:
        self._network, self._placement, self._grids, self._weights = (
            network,
            placement,
            grids,
            weights,
        )
        groups = dict.fromkeys(placement.ties[value] for value in placement.values)
        self._ranges = {group: torch.zeros((), requires_grad=True) for group in groups}
        self._room = {
            group: min(
                log(widest[value] / grids[value].scale)
                for value in placement.values
                if placement.ties[value] == group
            )
            for group in groups
        }
        layers = placement.quantized
        with torch.no_grad():
            outputs = network.run(image, keep=[layer.output for layer in layers])
        self._codes = {
            layer.name: _start(network.constants[layer.weight], weights.rounded[layer.name])
            for layer in layers
            if with_codes
        }
        self._steps = {
            layer.name: torch.from_numpy(weights.rounded[layer.name].scales).reshape(
                _by_channel(network.constants[layer.weight], layer.channel_axis)
            )
            for layer in layers
        }
        self._gains = {
            layer.name: torch.zeros(
                _by_channel(network.constants[layer.weight], layer.channel_axis),
                requires_grad=True,
            )
            for layer in layers
        }
        first = {
            layer.name: torch.from_numpy(weights.biases[layer.name])
            if layer.name in weights.biases
            else network.constants[layer.bias]
            for layer in layers
            if layer.bias is not None
        }
        self._biases = first
        self._shifts = {
            name: torch.zeros_like(bias).requires_grad_() for name, bias in first.items()
        }
        self._units = {
            layer.name: float(outputs[layer.output].std())
            for layer in layers
            if layer.name in first
        }

    def parameters(self, rates: Mapping[str, float] = RATES) -> list[tuple[Tensor, float]]:
        """All learned tensors with their learning rates, by kind as in ``RATES``."""
        kinds = (
            (self._ranges, "range"),
            (self._gains, "weight"),
            (self._shifts, "bias"),
            (self._codes, "code"),
        )
        return [(tensor, rates[kind]) for tensors, kind in kinds for tensor in tensors.values()]

    def logits(self, images: Tensor) -> Tensor:
        """The logits of a batch ``(N, C, H, W)``."""
        return self.run(images)[self._network.output]

    def run(self, images: Tensor, keep: Sequence[str] = ()) -> dict[str, Tensor]:
        """The logits of a batch ``(N, C, H, W)`` and the values in ``keep`` before they are
        rounded, by name.
        """
        network = self._network.with_constants(self._learned())
        return network.run_batch(images, self._hook(), keep)

    def bound(self) -> None:
        """Limits the steps to their largest allowed values."""
        with torch.no_grad():
            for group, logarithm in self._ranges.items():
                logarithm.clamp_(max=self._room[group])

    def taken(self) -> tuple[dict[str, Grid], Weights]:
        """The current grids and weights."""
        grids = {
            value: replace(
                grid,
                scale=float(
                    np.float32(
                        grid.scale * exp(float(self._ranges[self._placement.ties[value]].detach()))
                    )
                ),
            )
            for value, grid in self._grids.items()
        }
        rounded = {
            name: replace(
                weight,
                values=self._rounded(name).detach().numpy().astype(np.int8),
                scales=(
                    weight.scales * self._gains[name].detach().exp().reshape(-1).numpy()
                ).astype(np.float32),
            )
            for name, weight in self._weights.rounded.items()
        }
        biases = {name: bias.detach().numpy() for name, bias in self._moved_biases().items()}
        return grids, replace(
            self._weights, rounded=rounded, biases={**self._weights.biases, **biases}
        )

    def _learned(self) -> dict[str, Tensor]:
        """The weights and biases of the int8 layers."""
        constants, biases = {}, self._moved_biases()
        for layer in self._placement.quantized:
            weight = self._rounded(layer.name) * self._steps[layer.name]
            constants[layer.weight] = weight * self._gains[layer.name].exp()
            if layer.bias is not None:
                constants[layer.bias] = biases[layer.name]
        return constants

    def _rounded(self, name: str) -> Tensor:
        """The codes of a weight; the gradient of rounding is 1."""
        if name not in self._codes:
            return torch.from_numpy(self._weights.rounded[name].values.astype(np.float32))
        codes = self._codes[name]
        rounded: Tensor = codes.round().clamp(-WMAX, WMAX)
        return codes + (rounded - codes).detach()

    def _moved_biases(self) -> dict[str, Tensor]:
        return {
            name: bias + self._units[name] * self._shifts[name]
            for name, bias in self._biases.items()
        }

    def _hook(self) -> Any:
        done: dict[str, Tensor] = {}

        def hook(step: Step, position: int, tensor: Tensor) -> Tensor:
            value = self._placement.edges.get((step.name, position))
            if value is None:
                return tensor
            if value not in done:
                grid = self._grids[value]
                scale = grid.scale * self._ranges[self._placement.ties[value]].exp()
                done[value] = Round.apply(tensor, scale, grid)  # type: ignore[no-untyped-call]
            return done[value]

        return hook


class Round(torch.autograd.Function):
    """Rounds onto a grid, with a gradient for the grid's step. It rounds as ``Grid.round`` does,
    in plain passes over the tensor, which take a third of its time on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, grid: Grid) -> Tensor:
        step = float(scale)
        rounded = (x * (1 / step)).round_().clamp_(*grid.codes).mul_(step)
        ctx.save_for_backward(x, rounded)
        ctx.codes, ctx.step = grid.codes, step
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, rounded = ctx.saved_tensors
        low, high = (ctx.codes[0] - 0.5) * ctx.step, (ctx.codes[1] + 0.5) * ctx.step
        # `hardtanh_backward` gives its first argument, with 0 where x is outside the range
        inside, error = (
            torch.ops.aten.hardtanh_backward(tensor, x, low, high) for tensor in (gradient, x)
        )
        torch.sub(rounded, error, out=error)  # the error inside the range, its end outside
        by_error = torch.dot(gradient.reshape(-1), error.reshape(-1))
        return inside, by_error / ctx.step, None


def _start(weight: Tensor, rounded: QuantizedWeight) -> Tensor:
    """The float weight in units of codes, limited to values that round to its code."""
    codes = torch.from_numpy(rounded.values.astype(np.float32))
    step = torch.from_numpy(rounded.scales).reshape(_by_channel(weight, rounded.axis))
    return (weight / step).clamp(codes - INSIDE, codes + INSIDE).requires_grad_()


def _by_channel(weight: Tensor, axis: int) -> list[int]:
    return [size if d == axis else 1 for d, size in enumerate(weight.shape)]
