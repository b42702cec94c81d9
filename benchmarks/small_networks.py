"""Twelve small networks, for benchmarks of what surrounds an export: two kinds of blocks, two
widths, one to three blocks. Untrained; the seed is the network's own.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

CLASSES, SIZE = 10, 32


def network(kind: str, width: int, depth: int) -> nn.Module:
    """A stem, ``depth`` blocks, and a classifier of ten classes; made for images of 32 × 32."""
    torch.manual_seed(width + depth)
    layers = [_conv(3, width, stride=2)]
    for _ in range(depth):
        if kind == "depthwise":
            layers += [_conv(width, width, groups=width), _conv(width, width, kernel=1)]
        else:
            layers.append(_conv(width, width))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))
    return nn.Sequential(*layers, *head).eval()


def _conv(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


plain16_1, plain16_2, plain16_3 = (partial(network, "plain", 16, d) for d in (1, 2, 3))
plain32_1, plain32_2, plain32_3 = (partial(network, "plain", 32, d) for d in (1, 2, 3))
depthwise16_1, depthwise16_2, depthwise16_3 = (
    partial(network, "depthwise", 16, d) for d in (1, 2, 3)
)
depthwise32_1, depthwise32_2, depthwise32_3 = (
    partial(network, "depthwise", 32, d) for d in (1, 2, 3)
)
