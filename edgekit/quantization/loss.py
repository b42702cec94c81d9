"""Predicts, to first order, how an error inside a network changes its logits.

Let J be the Jacobian of the logits with respect to a value. An error d of the value changes the
logits by J d. For a random ±1 vector r, the expectation of (rᵀJ d)² is |J d|², and rᵀJ is one
backward pass. So a few passes per image give the squared logit error of every candidate grid of
every value.

Source: Hutchinson's estimator (1989); the objective is the Gauss-Newton form used by HAWQ-V2,
arXiv:1911.03852.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.quantization.execute import Step, TorchGraph
from edgekit.quantization.placement import Placement
from edgekit.quantization.twin import ChannelGrid, Grid

PROBES = 2  # random directions per image
SEED = 0


def price_grids(
    network: TorchGraph,
    placement: Placement,
    images: Sequence[NDArray[np.float32]],
    candidates: Mapping[str, Sequence[Grid | ChannelGrid]],
) -> dict[str, NDArray[np.float64]]:
    """The squared error of the logits, summed over the images, for each candidate grid of each
    value, if only that value is rounded.
    """
    prices = {value: np.zeros(len(grids)) for value, grids in candidates.items()}
    generator = torch.Generator().manual_seed(SEED)
    for image in images:
        values, gradients = _probe(network, placement, image, generator)
        with torch.inference_mode():
            for value, grids in candidates.items():
                tensor, directions = values[value], gradients[value].reshape(PROBES, -1)
                for i, grid in enumerate(grids):
                    error = (grid.round(tensor) - tensor).reshape(-1)
                    prices[value][i] += float((directions @ error).square().mean())
    return prices


def price_channels(
    network: TorchGraph,
    placement: Placement,
    images: Sequence[NDArray[np.float32]],
    grids: Mapping[str, Grid],
) -> dict[str, NDArray[np.float64]]:
    """As :func:`price_grids`, for each channel (axis 1) of each 4-D value of ``grids``."""
    prices: dict[str, NDArray[np.float64]] = {}
    generator = torch.Generator().manual_seed(SEED)
    for image in images:
        values, gradients = _probe(network, placement, image, generator)
        with torch.inference_mode():
            for value, grid in grids.items():
                if values[value].ndim == 4:
                    moved = (
                        (gradients[value] * (grid.round(values[value]) - values[value]))
                        .sum((-2, -1))
                        .reshape(PROBES, -1)
                    )
                    prices[value] = prices.get(value, 0.0) + moved.square().mean(0).double().numpy()
    return prices


def channel_gradients(
    network: TorchGraph, values: Sequence[str], images: Sequence[NDArray[np.float32]]
) -> dict[str, NDArray[np.float64]]:
    """The squared gradient of the logits, per channel of each value, summed over positions and
    averaged over images: the squared logit error of unit noise.
    """
    sums: dict[str, NDArray[np.float64]] = {}
    generator = torch.Generator().manual_seed(SEED)
    for image in images:
        kept = network.run(
            torch.as_tensor(image).clone().requires_grad_(),
            keep=[value for value in values if value != network.input],
        )
        tensors = [kept[value] for value in values if value != network.input]
        for gradients in _backward(kept[network.output], tensors, generator):
            for value, gradient in zip(
                (v for v in values if v != network.input), gradients, strict=True
            ):
                by_channel = (
                    gradient.square()
                    .sum([d for d in range(gradient.ndim) if d != 1])
                    .double()
                    .numpy()
                )
                sums[value] = sums.get(value, np.zeros_like(by_channel)) + by_channel
    return {value: total / (PROBES * len(images)) for value, total in sums.items()}


def _probe(
    network: TorchGraph,
    placement: Placement,
    image: NDArray[np.float32],
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The quantized values on one image, and their gradients ``(PROBES, …)`` through int8 consumers
    only.
    """
    leaves: dict[str, Tensor] = {}

    def hook(step: Step, position: int, tensor: Tensor) -> Tensor:
        value = placement.edges.get((step.name, position))
        if value is None:
            return tensor
        if value not in leaves:
            # A value that is not computed from the image has a gradient too.
            leaves[value] = tensor.view_as(tensor).requires_grad_()
        return leaves[value]

    logits = network.run(torch.as_tensor(image).clone().requires_grad_(), hook)[network.output]
    rows = _backward(logits, list(leaves.values()), generator)
    gradients = {value: torch.stack([row[i] for row in rows]) for i, value in enumerate(leaves)}
    return {value: tensor.detach() for value, tensor in leaves.items()}, gradients


def _backward(
    logits: Tensor, tensors: Sequence[Tensor], generator: torch.Generator
) -> list[list[Tensor]]:
    rows = []
    computed = [tensor for tensor in tensors if tensor.requires_grad]  # from the image
    for probe in range(PROBES):
        direction = torch.randint(0, 2, logits.shape, generator=generator).float() * 2 - 1
        gradients = iter(
            torch.autograd.grad(
                logits, computed, direction, retain_graph=probe < PROBES - 1, allow_unused=True
            )
        )
        found = [next(gradients) if tensor.requires_grad else None for tensor in tensors]
        rows.append(
            [
                torch.zeros_like(t) if gradient is None else gradient
                for t, gradient in zip(tensors, found, strict=True)
            ]
        )
    return rows
