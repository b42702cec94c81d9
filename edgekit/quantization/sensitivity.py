"""Measures each layer's part in the int8 error: alone in float, and alone in int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.progress import QUIET, Progress
from edgekit.quantization.execute import Hook, Step, TorchGraph
from edgekit.quantization.placement import Placement
from edgekit.quantization.twin import Fidelity, Grid, fidelity
from edgekit.quantization.weights import Weights, rounded_constants

MOST_IMAGES, LEAST_IMAGES = 16, 4
MOST_RUNS = 1024  # runs of the whole network; an image and a layer need two half runs


@dataclass(frozen=True)
class LayerSensitivity:
    """``alone_float``: only this layer is float, all others are int8. ``alone_int8``: only this
    layer is int8. ``macs_share`` and ``weights_share`` are its shares (0 to 1) of the network's
    MACs and weights.
    """

    layer: str
    alone_float: Fidelity
    alone_int8: Fidelity
    macs_share: float
    weights_share: float


@dataclass(frozen=True)
class Sensitivity:
    """``layers`` are sorted by the gain of keeping each in float, largest first. ``all_int8`` is
    the fidelity with all layers in int8.
    """

    layers: tuple[LayerSensitivity, ...]
    all_int8: Fidelity
    images: int


def images_for(placement: Placement) -> int:
    """The number of images for :func:`measure`. Deep networks get fewer, because each layer needs
    another run.
    """
    return min(MOST_IMAGES, max(LEAST_IMAGES, MOST_RUNS // len(placement.quantized)))


def measure(
    network: TorchGraph,
    placement: Placement,
    grids: Mapping[str, Grid],
    weights: Weights,
    images: Sequence[NDArray[np.float32]],
    reference: NDArray[np.float32],
    progress: Progress = QUIET,
) -> Sensitivity:
    """Runs every layer alone in float and alone in int8 on held-out images. Only the nodes after
    the layer are computed again.
    """
    layers = placement.quantized
    in_float = _Side(network, rounds=False)
    rounded = network.with_constants(rounded_constants(network, placement, weights))
    in_int8 = _Side(rounded, rounds=True)
    without: dict[str, list[NDArray[np.float32]]] = {layer.name: [] for layer in layers}
    alone: dict[str, list[NDArray[np.float32]]] = {layer.name: [] for layer in layers}
    everything = []
    with torch.inference_mode():
        for done, image in enumerate(images):
            progress.advance(done, len(images), "photos, with each layer alone in float")
            everything.append(_swap_each(placement, grids, image, in_int8, in_float, without))
            _swap_each(placement, grids, image, in_float, in_int8, alone)
    macs = sum(layer.macs for layer in placement.layers)
    sizes = {layer.name: network.constants[layer.weight].numel() for layer in placement.layers}
    rows = [
        LayerSensitivity(
            layer.name,
            fidelity(reference, np.stack(without[layer.name])),
            fidelity(reference, np.stack(alone[layer.name])),
            layer.macs / macs,
            sizes[layer.name] / sum(sizes.values()),
        )
        for layer in layers
    ]
    rows.sort(key=lambda row: -row.alone_float.sqnr)
    return Sensitivity(tuple(rows), fidelity(reference, np.stack(everything)), len(images))


@dataclass(frozen=True)
class _Side:
    """A network, and whether its activations are rounded."""

    network: TorchGraph
    rounds: bool


def _swap_each(
    placement: Placement,
    grids: Mapping[str, Grid],
    image: NDArray[np.float32],
    main: _Side,
    other: _Side,
    logits: Mapping[str, list[NDArray[np.float32]]],
) -> NDArray[np.float32]:
    """Runs one image on the ``main`` side. For each int8 layer, a second run continues from it with
    that layer on the ``other`` side.

    Returns the logits of the main side, and appends those of the other runs to ``logits``, by
    layer.
    """
    by_name = {layer.name: layer for layer in placement.quantized}

    def hook_without(layer: str | None) -> Hook:
        def hook(step: Step, position: int, tensor: Tensor) -> Tensor:
            value = placement.edges.get((step.name, position))
            rounds = other.rounds if step.name == layer else main.rounds
            return grids[value].round(tensor) if value is not None and rounds else tensor

        return hook

    network = main.network
    values: dict[str, Tensor] = {network.input: torch.as_tensor(image)[None]}
    for i, step in enumerate(network.steps):
        if step.name in by_name:
            layer = by_name[step.name]
            swapped = network.with_constants(
                {
                    name: other.network.constants[name]
                    for name in (layer.weight, layer.bias)
                    if name is not None
                }
            )
            result = swapped.resume(values, i, hook_without(layer.name))
            logits[layer.name].append(result[network.output].reshape(-1).numpy())
        values |= network.apply(i, values, hook_without(None))
        alive = network.alive(i + 1) | {network.output}
        values = {name: tensor for name, tensor in values.items() if name in alive}
    return values[network.output].reshape(-1).numpy()
