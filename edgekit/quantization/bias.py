"""Bias correction: rounding a weight shifts the mean of the layer's output, and a change of the
float bias cancels the shift at no cost.

The shift of a layer is the mean, over calibration images and positions, of the layer applied to the
error of its weight, with the inputs of the int8 network. Clipping of an activation also shifts its
mean, but that part is not corrected: before a ReLU6 or a saturating grid the correction would be
too large.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV
2019, arXiv:1906.04721, Section 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.quantization.execute import Step, TorchGraph
from edgekit.quantization.layers import Layer
from edgekit.quantization.placement import Placement
from edgekit.quantization.twin import Grid, rounding_hook


def weight_shifts(
    network: TorchGraph,
    placement: Placement,
    grids: Mapping[str, Grid],
    errors: Mapping[str, Tensor],
    images: Sequence[NDArray[np.float32]],
) -> dict[str, NDArray[np.float64]]:
    """The mean output error of every int8 layer, by its name: one number per output channel.

    Args:
        network: the network with float weights.
        placement: the quantized values.
        grids: the grids of the activations.
        errors: rounded weight minus float weight, by layer name.
        images: a few dozen calibration images.
    """
    layers = {layer.name: layer for layer in placement.quantized}
    sums = {name: torch.zeros((), dtype=torch.float64) for name in layers}
    with torch.inference_mode():
        for image in images:
            rounding = rounding_hook(placement.edges, grids)

            def hook(step: Step, position: int, tensor: Tensor, rounding=rounding) -> Tensor:  # type: ignore[no-untyped-def]
                tensor = rounding(step, position, tensor)
                layer = layers.get(step.name)
                if layer is not None and position == 0:
                    moved = step.operator(step.attributes, [tensor, errors[layer.name]])
                    sums[layer.name] = sums[layer.name] + _channel_means(moved, layer)
                return tensor

            network.run(image, hook)
    return {name: (total / len(images)).numpy() for name, total in sums.items()}


def _channel_means(output: Tensor | tuple[Tensor, ...], layer: Layer) -> Tensor:
    assert isinstance(output, Tensor)
    axis = 1 if layer.op_type.startswith("Conv") else output.ndim - 1
    return output.double().mean([d for d in range(output.ndim) if d != axis])
