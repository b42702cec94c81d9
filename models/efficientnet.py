"""EfficientNet: one small network, scaled in width, depth and resolution together.

Paper: Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
2019, arXiv:1905.11946. State-dict keys are torchvision's. Batch norm: ε 1e-5 and momentum 0.1 in b0
… b4, the authors' 1e-3 and 0.01 in b5 … b7, as those checkpoints were trained; padding is symmetric
where the authors' TensorFlow code pads ``SAME``.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from .layers import (
    ConvNormAct,
    fan_out_normal,
    fan_out_uniform,
    initialize,
    make_divisible,
)
from .mbconv import MBConv


@dataclass(frozen=True)
class Stage:
    """A row of Table 1: MBConv with ``expand_ratio`` and ``kernel_size``."""

    expand_ratio: int
    kernel_size: int
    channels: int
    repeats: int
    stride: int


STEM_CHANNELS = 32
HEAD_RATIO = 4  # the last 1×1 convolution: 1280 = 4·320

# Table 1 of the paper, stages 2 to 8: EfficientNet-B0.
STAGES = (
    Stage(1, 3, 16, 1, 1),
    Stage(6, 3, 24, 2, 2),
    Stage(6, 5, 40, 2, 2),
    Stage(6, 3, 80, 3, 2),
    Stage(6, 5, 112, 3, 1),
    Stage(6, 5, 192, 4, 2),
    Stage(6, 3, 320, 1, 1),
)

_silu = partial(nn.SiLU, inplace=True)


class EfficientNet(nn.Module):
    """EfficientNet with width and depth multipliers.

    ``stochastic_depth`` is the drop probability towards which the blocks rise linearly from 0.
    Input ``(N, in_channels, H, W)`` with H and W multiples of 32 for whole strides; output ``(N,
    num_classes)`` logits.
    """

    classifier_key = "classifier.1"

    def __init__(
        self,
        width: float = 1.0,
        depth: float = 1.0,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
        stochastic_depth: float = 0.2,
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
    ) -> None:
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=norm_eps, momentum=norm_momentum)
        channels = make_divisible(STEM_CHANNELS * width)
        repeats = [math.ceil(stage.repeats * depth) for stage in STAGES]
        index = 0
        features: list[nn.Module] = [
            ConvNormAct(in_channels, channels, kernel_size=3, stride=2, norm=norm, activation=_silu)
        ]
        for stage, count in zip(STAGES, repeats, strict=True):
            out_channels = make_divisible(stage.channels * width)
            blocks: list[nn.Module] = []
            for i in range(count):
                block = MBConv(
                    channels,
                    out_channels,
                    expand_ratio=stage.expand_ratio,
                    kernel_size=stage.kernel_size,
                    stride=stage.stride if i == 0 else 1,
                    drop=stochastic_depth * index / sum(repeats),
                    norm=norm,
                )
                blocks.append(block)
                channels, index = out_channels, index + 1
            features.append(nn.Sequential(*blocks))
        head_channels = HEAD_RATIO * channels
        features.append(
            ConvNormAct(channels, head_channels, kernel_size=1, norm=norm, activation=_silu)
        )
        self.features = nn.Sequential(*features)
        linear = nn.Linear(head_channels, num_classes)
        self.classifier = nn.Sequential(nn.Dropout(dropout), linear)
        initialize(self.features, fan_out_normal)
        fan_out_uniform(linear)

    def trunk(self) -> OrderedDict[str, nn.Module]:
        return OrderedDict((f"features.{i}", module) for i, module in enumerate(self.features))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(x.mean((2, 3)))  # type: ignore[no-any-return]
