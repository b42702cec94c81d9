"""EfficientNet-Lite: EfficientNet for mobile accelerators.

Scaling: Tan & Le, "EfficientNet", ICML 2019, arXiv:1905.11946. The Lite line (tensorflow/tpu,
models/official/efficientnet/lite) differs in three things: no squeeze-and-excitation, ReLU6 for
Swish, and a stem and head (and the first and last stage's depth) that do not scale. State-dict keys
are timm's ``tf_efficientnet_lite*``. The published weights come from TensorFlow, so padding is
``SAME`` and batch-norm ε is 1e-3.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from .layers import (
    Conv2dSame,
    Residual,
    fan_out_uniform,
    group_fan_out_normal,
    initialize,
    make_divisible,
)


@dataclass(frozen=True)
class Stage:
    """A row of Table 1: MBConv with ``expand_ratio`` and ``kernel_size``."""

    expand_ratio: int
    kernel_size: int
    channels: int
    repeats: int
    stride: int


STEM_CHANNELS = 32
HEAD_CHANNELS = 1280

# Table 1 of the paper, stages 2 to 8.
STAGES = (
    Stage(1, 3, 16, 1, 1),
    Stage(6, 3, 24, 2, 2),
    Stage(6, 5, 40, 2, 2),
    Stage(6, 3, 80, 3, 2),
    Stage(6, 5, 112, 3, 1),
    Stage(6, 5, 192, 4, 2),
    Stage(6, 3, 320, 1, 1),
)


_norm = partial(nn.BatchNorm2d, eps=1e-3)


class DepthwiseSeparable(Residual):
    """MBConv with expansion 1: depthwise, then project."""

    def __init__(
        self, in_channels: int, out_channels: int, stage: Stage, *, stride: int, drop: float
    ) -> None:
        layers = [
            (
                "conv_dw",
                Conv2dSame(
                    in_channels,
                    in_channels,
                    stage.kernel_size,
                    stride,
                    groups=in_channels,
                    bias=False,
                ),
            ),
            ("bn1", _norm(in_channels)),
            ("act1", nn.ReLU6(inplace=True)),
            ("conv_pw", Conv2dSame(in_channels, out_channels, 1, bias=False)),
            ("bn2", _norm(out_channels)),
        ]
        super().__init__(
            layers, use_shortcut=stride == 1 and in_channels == out_channels, drop=drop
        )


class InvertedResidual(Residual):
    """MBConv: expand, depthwise, project; identity shortcut where shapes agree."""

    def __init__(
        self, in_channels: int, out_channels: int, stage: Stage, *, stride: int, drop: float
    ) -> None:
        hidden = in_channels * stage.expand_ratio
        layers = [
            ("conv_pw", Conv2dSame(in_channels, hidden, 1, bias=False)),
            ("bn1", _norm(hidden)),
            ("act1", nn.ReLU6(inplace=True)),
            (
                "conv_dw",
                Conv2dSame(hidden, hidden, stage.kernel_size, stride, groups=hidden, bias=False),
            ),
            ("bn2", _norm(hidden)),
            ("act2", nn.ReLU6(inplace=True)),
            ("conv_pwl", Conv2dSame(hidden, out_channels, 1, bias=False)),
            ("bn3", _norm(out_channels)),
        ]
        super().__init__(
            layers, use_shortcut=stride == 1 and in_channels == out_channels, drop=drop
        )


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite with width and depth multipliers.

    Input ``(N, in_channels, H, W)``; output ``(N, num_classes)`` logits.
    """

    classifier_key = "classifier"

    def __init__(
        self,
        width: float = 1.0,
        depth: float = 1.0,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
        stochastic_depth: float = 0.2,
    ) -> None:
        super().__init__()
        self.conv_stem = Conv2dSame(in_channels, STEM_CHANNELS, 3, 2, bias=False)
        self.bn1 = _norm(STEM_CHANNELS)
        self.act = nn.ReLU6(inplace=True)
        repeats = [
            s.repeats if s in (STAGES[0], STAGES[-1]) else math.ceil(s.repeats * depth)
            for s in STAGES
        ]
        channels, index = STEM_CHANNELS, 0
        stages: list[nn.Module] = []
        for stage, count in zip(STAGES, repeats, strict=True):
            out_channels = make_divisible(stage.channels * width)
            block = DepthwiseSeparable if stage.expand_ratio == 1 else InvertedResidual
            blocks: list[nn.Module] = []
            for i in range(count):
                drop = stochastic_depth * index / sum(repeats)
                blocks.append(
                    block(
                        channels,
                        out_channels,
                        stage,
                        stride=stage.stride if i == 0 else 1,
                        drop=drop,
                    )
                )
                channels, index = out_channels, index + 1
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = Conv2dSame(channels, HEAD_CHANNELS, 1, bias=False)
        self.bn2 = _norm(HEAD_CHANNELS)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(HEAD_CHANNELS, num_classes)
        initialize(self, group_fan_out_normal)
        fan_out_uniform(self.classifier)

    def trunk(self) -> OrderedDict[str, nn.Module]:
        stem = nn.Sequential(self.conv_stem, self.bn1, self.act)
        head = nn.Sequential(self.conv_head, self.bn2, self.act)
        return OrderedDict(
            [
                ("stem", stem),
                *((f"blocks.{i}", b) for i, b in enumerate(self.blocks)),
                ("head", head),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv_stem(x)))
        x = self.blocks(x)
        x = self.act(self.bn2(self.conv_head(x)))
        return self.classifier(self.dropout(x.mean((2, 3))))  # type: ignore[no-any-return]
