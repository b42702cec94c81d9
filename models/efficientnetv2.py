"""EfficientNetV2: fused MBConv in the early stages, smaller expansions, smaller kernels.

Paper: Tan & Le, "EfficientNetV2: Smaller Models and Faster Training", ICML 2021, arXiv:2104.00298.
State-dict keys of s, m and l are torchvision's; those of b0 … b3, which torchvision does not have,
are timm's ``tf_efficientnetv2_b*``. Batch-norm ε is 1e-3 throughout, as in the authors' code.
Padding is symmetric in s, m and l (as in torchvision's checkpoints) and TensorFlow's ``SAME`` in b0
… b3, whose published weights come from there.

Where the first version of the paper has 272 channels in the last stage of Table 4 and a head of
1792, the authors' code and every checkpoint have 256 and 1280; and the fused blocks have no
squeeze-and-excitation, though Figure 2 draws it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from .layers import (
    Conv2dSame,
    ConvNormAct,
    Residual,
    SqueezeExcite,
    StochasticDepth,
    fan_out_normal,
    fan_out_uniform,
    group_fan_out_normal,
    initialize,
    make_divisible,
)
from .mbconv import MBConv


@dataclass(frozen=True)
class Stage:
    """A row of Table 4: (fused) MBConv with ``expand_ratio``; kernels are 3×3. Plain MBConv has
    squeeze-and-excitation to a quarter.
    """

    fused: bool
    expand_ratio: int
    channels: int
    repeats: int
    stride: int


HEAD_CHANNELS = 1280

# Table 4 of the paper, stages 1 to 6; the stem has the channels of stage 1.
SMALL = (
    Stage(True, 1, 24, 2, 1),
    Stage(True, 4, 48, 4, 2),
    Stage(True, 4, 64, 4, 2),
    Stage(False, 4, 128, 6, 2),
    Stage(False, 6, 160, 9, 1),
    Stage(False, 6, 256, 15, 2),
)

# Not in the paper: google/automl, efficientnetv2/effnetv2_configs.py.
MEDIUM = (
    Stage(True, 1, 24, 3, 1),
    Stage(True, 4, 48, 5, 2),
    Stage(True, 4, 80, 5, 2),
    Stage(False, 4, 160, 7, 2),
    Stage(False, 6, 176, 14, 1),
    Stage(False, 6, 304, 18, 2),
    Stage(False, 6, 512, 5, 1),
)
LARGE = (
    Stage(True, 1, 32, 4, 1),
    Stage(True, 4, 64, 7, 2),
    Stage(True, 4, 96, 7, 2),
    Stage(False, 4, 192, 10, 2),
    Stage(False, 6, 224, 19, 1),
    Stage(False, 6, 384, 25, 2),
    Stage(False, 6, 640, 7, 1),
)
SIZES = {"s": SMALL, "m": MEDIUM, "l": LARGE}

# The same file: b0, scaled to b1 … b3 by the coefficients of EfficientNet.
BASE_STEM_CHANNELS = 32
BASE = (
    Stage(True, 1, 16, 1, 1),
    Stage(True, 4, 32, 2, 2),
    Stage(True, 4, 48, 2, 2),
    Stage(False, 4, 96, 3, 2),
    Stage(False, 6, 112, 5, 1),
    Stage(False, 6, 192, 8, 2),
)

_norm = partial(nn.BatchNorm2d, eps=1e-3)
_silu = partial(nn.SiLU, inplace=True)


class FusedMBConv(nn.Module):
    """Expand by a full 3×3, project by a 1×1 (one activated 3×3 does both at expansion 1); identity
    shortcut where shapes agree.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        expand_ratio: int,
        kernel_size: int,
        stride: int,
        drop: float,
        norm: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        hidden = in_channels * expand_ratio
        conv = partial(ConvNormAct, norm=norm, activation=_silu)
        if expand_ratio == 1:
            layers = [conv(in_channels, out_channels, kernel_size=kernel_size, stride=stride)]
        else:
            expand = conv(in_channels, hidden, kernel_size=kernel_size, stride=stride)
            layers = [expand, conv(hidden, out_channels, kernel_size=1, activation=None)]
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = StochasticDepth(drop)
        self.use_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + self.stochastic_depth(y) if self.use_shortcut else y


class EfficientNetV2(nn.Module):
    """EfficientNetV2 ``"s"``, ``"m"`` or ``"l"``.

    ``stochastic_depth`` is the drop probability towards which the blocks rise linearly from 0.
    Input ``(N, in_channels, H, W)`` with H and W multiples of 32 for whole strides; output ``(N,
    num_classes)`` logits.

    Raises:
        ValueError: ``size`` is not one of the three.
    """

    classifier_key = "classifier.1"

    def __init__(
        self,
        size: str = "s",
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
        stochastic_depth: float = 0.2,
    ) -> None:
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"EfficientNetV2 is s, m or l, not {size!r}")
        stages = SIZES[size]
        channels, index, count = stages[0].channels, 0, sum(stage.repeats for stage in stages)
        features: list[nn.Module] = [
            ConvNormAct(
                in_channels, channels, kernel_size=3, stride=2, norm=_norm, activation=_silu
            )
        ]
        for stage in stages:
            block = FusedMBConv if stage.fused else MBConv
            blocks: list[nn.Module] = []
            for i in range(stage.repeats):
                drop, stride = stochastic_depth * index / count, stage.stride if i == 0 else 1
                blocks.append(
                    block(
                        channels,
                        stage.channels,
                        expand_ratio=stage.expand_ratio,
                        kernel_size=3,
                        stride=stride,
                        drop=drop,
                        norm=_norm,
                    )
                )
                channels, index = stage.channels, index + 1
            features.append(nn.Sequential(*blocks))
        features.append(
            ConvNormAct(channels, HEAD_CHANNELS, kernel_size=1, norm=_norm, activation=_silu)
        )
        self.features = nn.Sequential(*features)
        linear = nn.Linear(HEAD_CHANNELS, num_classes)
        self.classifier = nn.Sequential(nn.Dropout(dropout), linear)
        initialize(self.features, fan_out_normal)
        fan_out_uniform(linear)

    def trunk(self) -> OrderedDict[str, nn.Module]:
        return OrderedDict((f"features.{i}", module) for i, module in enumerate(self.features))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(x.mean((2, 3)))  # type: ignore[no-any-return]


def _base_block(
    in_channels: int, out_channels: int, stage: Stage, *, stride: int, drop: float
) -> Residual:
    """The same two blocks with timm's names and ``SAME`` padding."""
    hidden = in_channels * stage.expand_ratio
    if stage.fused and stage.expand_ratio == 1:
        layers = [
            ("conv", Conv2dSame(in_channels, out_channels, 3, stride, bias=False)),
            ("bn1", _norm(out_channels)),
            ("act1", _silu()),
        ]
    elif stage.fused:
        layers = [
            ("conv_exp", Conv2dSame(in_channels, hidden, 3, stride, bias=False)),
            ("bn1", _norm(hidden)),
            ("act1", _silu()),
            ("conv_pwl", nn.Conv2d(hidden, out_channels, 1, bias=False)),
            ("bn2", _norm(out_channels)),
        ]
    else:
        names = ("conv_reduce", "conv_expand")
        layers = [
            ("conv_pw", nn.Conv2d(in_channels, hidden, 1, bias=False)),
            ("bn1", _norm(hidden)),
            ("act1", _silu()),
            ("conv_dw", Conv2dSame(hidden, hidden, 3, stride, groups=hidden, bias=False)),
            ("bn2", _norm(hidden)),
            ("act2", _silu()),
            ("se", SqueezeExcite(hidden, in_channels // 4, activation=_silu, names=names)),
            ("conv_pwl", nn.Conv2d(hidden, out_channels, 1, bias=False)),
            ("bn3", _norm(out_channels)),
        ]
    return Residual(layers, use_shortcut=stride == 1 and in_channels == out_channels, drop=drop)


class EfficientNetV2Base(nn.Module):
    """EfficientNetV2-B0, with width and depth multipliers.

    ``stochastic_depth`` is the drop probability towards which the blocks rise linearly from 0.
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
        # Rounded to the nearest multiple of 8, even if more than 10 % is lost: b1 … b3 were trained
        # with these widths.
        scaled = partial(make_divisible, round_limit=0.0)
        channels, index = scaled(BASE_STEM_CHANNELS * width), 0
        self.conv_stem = Conv2dSame(in_channels, channels, 3, 2, bias=False)
        self.bn1 = _norm(channels)
        self.act = _silu()
        repeats = [math.ceil(stage.repeats * depth) for stage in BASE]
        stages: list[nn.Module] = []
        for stage, count in zip(BASE, repeats, strict=True):
            out_channels = scaled(stage.channels * width)
            blocks: list[nn.Module] = []
            for i in range(count):
                drop, stride = (
                    stochastic_depth * index / sum(repeats),
                    stage.stride if i == 0 else 1,
                )
                blocks.append(_base_block(channels, out_channels, stage, stride=stride, drop=drop))
                channels, index = out_channels, index + 1
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        head_channels = scaled(HEAD_CHANNELS * width)
        self.conv_head = nn.Conv2d(channels, head_channels, 1, bias=False)
        self.bn2 = _norm(head_channels)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(head_channels, num_classes)
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
