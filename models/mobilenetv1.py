"""MobileNetV1: depthwise separable convolutions.

Paper: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", arXiv:1704.04861. State-dict keys are timm's ``mobilenetv1_*``. The resolution
multiplier ρ of Section 3.4 is the size of the input.

Table 1 lists stride 2 for the last depthwise convolution. That is an error (7×7 in, 7×7 out); the
stride is 1 here, as in all implementations. The activation is ReLU6, as in the authors' code and
the checkpoints; the paper says ReLU.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from .layers import fan_out_uniform, group_fan_out_normal, initialize, make_divisible


@dataclass(frozen=True)
class Stage:
    """``repeats`` rows of Table 1 with the same width, the first with ``stride``."""

    channels: int
    repeats: int
    stride: int


STEM_CHANNELS = 32

# Table 1 of the paper, a row for each pair "Conv dw, Conv pw".
STAGES = (
    Stage(64, 1, 1),
    Stage(128, 2, 2),
    Stage(256, 2, 2),
    Stage(512, 6, 2),
    Stage(1024, 2, 2),
)


class DepthwiseSeparable(nn.Sequential):
    """Figure 3: depthwise 3×3, then pointwise 1×1, each followed by batch norm and activation."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        layers = [
            (
                "conv_dw",
                nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False),
            ),
            ("bn1", nn.BatchNorm2d(in_channels)),
            ("act1", nn.ReLU6(inplace=True)),
            ("conv_pw", nn.Conv2d(in_channels, out_channels, 1, bias=False)),
            ("bn2", nn.BatchNorm2d(out_channels)),
            ("act2", nn.ReLU6(inplace=True)),
        ]
        super().__init__(OrderedDict(layers))


class MobileNetV1(nn.Module):
    """MobileNetV1 at any width (α of Section 3.3).

    Input ``(N, in_channels, H, W)`` with H and W multiples of 32 for whole strides; output ``(N,
    num_classes)`` logits.
    """

    classifier_key = "classifier"

    def __init__(
        self,
        width: float = 1.0,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.001,
    ) -> None:
        super().__init__()
        channels = make_divisible(STEM_CHANNELS * width)
        self.conv_stem = nn.Conv2d(in_channels, channels, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act = nn.ReLU6(inplace=True)
        stages: list[nn.Module] = []
        for stage in STAGES:
            out_channels = make_divisible(stage.channels * width)
            blocks: list[nn.Module] = []
            for i in range(stage.repeats):
                blocks.append(
                    DepthwiseSeparable(channels, out_channels, stride=stage.stride if i == 0 else 1)
                )
                channels = out_channels
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, num_classes)
        initialize(self, group_fan_out_normal)
        fan_out_uniform(self.classifier)

    def trunk(self) -> OrderedDict[str, nn.Module]:
        stem = nn.Sequential(self.conv_stem, self.bn1, self.act)
        return OrderedDict(
            [("stem", stem), *((f"blocks.{i}", stage) for i, stage in enumerate(self.blocks))]
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv_stem(x)))
        x = self.blocks(x)
        return self.classifier(self.dropout(x.mean((2, 3))))  # type: ignore[no-any-return]
