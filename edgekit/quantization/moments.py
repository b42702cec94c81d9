"""The covariances of layer inputs that adaptive rounding needs, collected image by image at sampled
positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.quantization.execute import Step, TorchGraph
from edgekit.quantization.layers import Layer
from edgekit.quantization.operators.windows import pad
from edgekit.quantization.placement import Placement
from edgekit.quantization.twin import Grid, rounding_hook

POSITIONS = 512  # positions sampled per image; all if the layer has fewer
BYTES_AT_ONCE = (
    192 * 2**20
)  # covariances in memory during one pass; larger networks need several passes
SEED = 0


def fits(layer: Layer, network: TorchGraph) -> bool:
    """Whether the covariance of a layer's inputs fits in memory. It does not for a linear layer on
    a whole feature map, as in AlexNet and VGG. Convolutions of volumes are not supported.
    """
    if network.constants[layer.weight].ndim > 4:
        return False
    return _covariance_bytes(layer, network) <= BYTES_AT_ONCE


def batches(layers: Sequence[Layer], network: TorchGraph) -> list[list[Layer]]:
    """Splits layers so that the covariances of each part fit ``BYTES_AT_ONCE``."""
    parts: list[list[Layer]] = []
    used = BYTES_AT_ONCE
    for layer in layers:
        need = _covariance_bytes(layer, network)
        if used + need > BYTES_AT_ONCE:
            parts.append([])
            used = 0
        parts[-1].append(layer)
        used += need
    return parts


def covariances(
    network: TorchGraph,
    placement: Placement,
    grids: Mapping[str, Grid],
    layers: Sequence[Layer],
    images: Sequence[NDArray[np.float32]],
) -> dict[str, Tensor]:
    """The covariance ``(G, K, K)`` of each layer's int8 inputs over the patch of one output, by
    layer name.

    G is the number of groups, K the number of inputs per group times the kernel size. The mean is
    subtracted, because bias correction handles it. The inputs are counted from their mean on the
    first image: else a mean far larger than the spread would use up the digits of float32.
    """
    wanted = {layer.name: layer for layer in layers}
    squares: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    origins: dict[str, Tensor] = {}
    counts = dict.fromkeys(wanted, 0)
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for image in images:
            rounding = rounding_hook(placement.edges, grids)

            def hook(step: Step, position: int, tensor: Tensor, rounding=rounding) -> Tensor:  # type: ignore[no-untyped-def]
                tensor = rounding(step, position, tensor)
                layer = wanted.get(step.name)
                if layer is not None and position == 0:
                    patches = sample_patches(
                        step, layer, tensor, network.constants[layer.weight].shape, generator
                    )
                    origin = origins.setdefault(layer.name, patches.mean(-1, keepdim=True))
                    patches = patches - origin
                    square, total = patches @ patches.mT, patches.sum(-1)
                    squares[layer.name] = (
                        squares[layer.name].add_(square) if layer.name in squares else square
                    )
                    sums[layer.name] = sums[layer.name].add_(total) if layer.name in sums else total
                    counts[layer.name] += patches.shape[-1]
                return tensor

            network.run(image, hook)
    result = {}
    for name, square in squares.items():
        mean = sums[name] / counts[name]
        result[name] = square / counts[name] - (mean.unsqueeze(-1) * mean.unsqueeze(-2))
    return result


def sample_patches(
    step: Step, layer: Layer, tensor: Tensor, shape: torch.Size, generator: torch.Generator
) -> Tensor:
    """The input patches of up to ``POSITIONS`` outputs of a layer, ``(groups, inputs per group ×
    kernel, positions)``.
    """
    if layer.op_type in ("Gemm", "MatMul"):
        return tensor.reshape(-1, tensor.shape[-1]).T.unsqueeze(0)
    kernel = tuple(shape[2:])
    attributes = step.attributes
    ones = [1] * len(kernel)
    strides, dilations = attributes.get("strides", ones), attributes.get("dilations", ones)
    padded = pad(attributes, tensor, kernel, 0.0)[0]
    if len(kernel) == 1:  # as an image of one row
        padded, kernel = padded.unsqueeze(2), (1, *kernel)
        strides, dilations = (1, *strides), (1, *dilations)
    height, width = padded.shape[-2:]
    rows = (height - dilations[0] * (kernel[0] - 1) - 1) // strides[0] + 1
    columns = (width - dilations[1] * (kernel[1] - 1) - 1) // strides[1] + 1
    count = rows * columns
    chosen = (
        torch.arange(count)
        if count <= POSITIONS
        else torch.randint(0, count, (POSITIONS,), generator=generator)
    )
    corner = chosen // columns * strides[0] * width + chosen % columns * strides[1]
    taps = torch.tensor(
        [
            y * dilations[0] * width + x * dilations[1]
            for y in range(kernel[0])
            for x in range(kernel[1])
        ]
    )
    flat = padded[0].flatten(1)
    patches = flat[:, (taps.unsqueeze(1) + corner).reshape(-1)]
    return patches.reshape(layer.groups, -1, len(chosen))


def _covariance_bytes(layer: Layer, network: TorchGraph) -> int:
    shape = network.constants[layer.weight].shape
    size = int(np.prod(shape)) // shape[layer.channel_axis]
    return 4 * layer.groups * size * size
