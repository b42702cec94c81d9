"""Rounds all weights of a network to int8, and corrects the biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.progress import QUIET, Progress
from edgekit.quantization import bias, moments, rounding
from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.layers import Layer
from edgekit.quantization.placement import Placement
from edgekit.quantization.rounding import QuantizedWeight, Rounding
from edgekit.quantization.twin import Grid


@dataclass(frozen=True)
class Weights:
    """By layer name: the ``rounded`` weights of the int8 layers, and the corrected ``biases``.
    ``plain`` are the layers whose weights are rounded to nearest.
    """

    rounded: Mapping[str, QuantizedWeight]
    biases: Mapping[str, NDArray[np.float32]]
    plain: tuple[str, ...] = ()


def round_weights(
    network: TorchGraph,
    placement: Placement,
    grids: Mapping[str, Grid],
    images: Sequence[NDArray[np.float32]],
    *,
    mode: Rounding,
    correct_bias: bool,
    progress: Progress = QUIET,
) -> Weights:
    """Rounds the weights of every int8 layer. ``network`` keeps its float weights.

    In mode ``adaptive``, layers with very many inputs are rounded to nearest: see
    :func:`edgekit.quantization.moments.fits`.
    """
    adaptive = [
        layer
        for layer in placement.quantized
        if mode == "adaptive" and moments.fits(layer, network)
    ]
    plain = [layer for layer in placement.quantized if layer not in adaptive]
    rounded = {layer.name: _round(layer, network.constants[layer.weight], None) for layer in plain}
    for part in moments.batches(adaptive, network):
        covariances = moments.covariances(network, placement, grids, part, images)
        for layer in part:
            weight = network.constants[layer.weight]
            rounded[layer.name] = _round(layer, weight, covariances[layer.name])
            progress.advance(len(rounded), len(placement.quantized), "layers rounded")
    names = tuple(layer.name for layer in plain)
    if not correct_bias:
        return Weights(rounded, {}, names)
    errors = {
        layer.name: torch.from_numpy(rounded[layer.name].dequantized())
        - network.constants[layer.weight]
        for layer in placement.quantized
    }
    shifts = bias.weight_shifts(network, placement, grids, errors, images)
    biases = {}
    for layer in placement.quantized:
        old = (
            network.constants[layer.bias].numpy()
            if layer.bias is not None
            else np.zeros_like(shifts[layer.name])
        )
        biases[layer.name] = (old - shifts[layer.name]).astype(np.float32)
    return Weights(rounded, biases, names)


def rounded_constants(
    network: TorchGraph, placement: Placement, weights: Weights
) -> dict[str, Tensor]:
    """The network's constants, with the dequantized int8 weights and corrected biases of the int8
    layers.

    A layer without a bias has none here either, although the written graph adds a corrected bias.
    """
    constants = dict(network.constants)
    for layer in placement.quantized:
        constants[layer.weight] = torch.from_numpy(weights.rounded[layer.name].dequantized())
        if layer.bias is not None and layer.name in weights.biases:
            constants[layer.bias] = torch.from_numpy(weights.biases[layer.name])
    return constants


def _round(layer: Layer, weight: Tensor, covariance: Tensor | None) -> QuantizedWeight:
    moved = weight.movedim(layer.channel_axis, 0)
    rows = moved.reshape(layer.groups, moved.shape[0] // layer.groups, -1)
    if layer.op_type == "ConvTranspose":
        rows = moved.reshape(1, moved.shape[0], -1)
    importance = None if covariance is None else covariance.diagonal(dim1=-2, dim2=-1)
    step = rounding.steps(rows, importance)
    levels = (
        rounding.nearest(rows, step)
        if covariance is None
        else rounding.adaptive(rows, step, covariance)
    )
    values = levels.reshape(moved.shape).movedim(0, layer.channel_axis)
    return QuantizedWeight(
        np.ascontiguousarray(values.numpy().astype(np.int8)),
        step.reshape(-1).numpy().astype(np.float32),
        layer.channel_axis,
    )
