"""Which layers of a network are wide enough for int8 kernels, asked of PyTorch's modules.

The numbers are those of NVIDIA's developer guide and of what its Model Optimizer leaves out, as
docs/design.md states them; neither the ONNX graph nor the code that places quantizers has a part in
this.
"""

from __future__ import annotations

from torch import nn

CHANNELS, DEPTHWISE_MULTIPLE, DEPTHWISE_KERNEL = 16, 8, 3


def too_narrow(network: nn.Module) -> set[str]:
    """The names of the convolutions and dense layers that have no int8 kernel worth using; the
    first may read an image of few channels.
    """
    layers = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
    first = next(iter(layers))
    return {
        name for name, module in layers.items() if not _is_wide(module, reads_image=name == first)
    }


def _is_wide(module: nn.Module, *, reads_image: bool) -> bool:
    if isinstance(module, nn.Linear):
        return min(module.in_features, module.out_features) >= CHANNELS
    assert isinstance(module, nn.Conv2d)
    if 1 < module.groups == module.in_channels:
        return (
            module.out_channels % DEPTHWISE_MULTIPLE == 0
            and min(int(side) for side in module.kernel_size) >= DEPTHWISE_KERNEL
        )
    return module.out_channels >= CHANNELS and (module.in_channels >= CHANNELS or reads_image)
