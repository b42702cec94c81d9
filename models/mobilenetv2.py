"""MobileNetV2: inverted residuals and linear bottlenecks.

Paper: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018,
arXiv:1801.04381. State-dict keys are torchvision's, so that any torchvision checkpoint, fine-tuned
or not, loads strictly.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from .layers import fan_out_normal, initialize, make_divisible


@dataclass(frozen=True)
class Stage:
    """A row of Table 2: ``repeats`` bottlenecks, the first with ``stride``."""

    expand_ratio: int
    channels: int
    repeats: int
    stride: int


STEM_CHANNELS = 32
HEAD_CHANNELS = 1280

# Table 2 of the paper: t, c, n, s.
STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)


class ConvBNReLU6(nn.Sequential):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                stride,
                kernel_size // 2,
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(out_channels),
            nn.ReLU6(inplace=True),
        )


class InvertedResidual(nn.Module):
    """Table 1: expand 1×1, depthwise 3×3, project 1×1 without activation; identity shortcut where
    shapes agree.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, expand_ratio: int
    ) -> None:
        super().__init__()
        hidden = in_channels * expand_ratio
        layers: list[nn.Module] = []
        if expand_ratio != 1:
            layers.append(ConvBNReLU6(in_channels, hidden, kernel_size=1))
        layers += [
            ConvBNReLU6(hidden, hidden, kernel_size=3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        self.conv = nn.Sequential(*layers)
        self.use_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.use_shortcut else y


class MobileNetV2(nn.Module):
    """MobileNetV2 at any width.

    The last 1×1 convolution keeps 1280 channels below width 1, as Section 4 of the paper says.
    Input ``(N, in_channels, H, W)`` with H and W multiples of 32 for whole strides; output ``(N,
    num_classes)`` logits.
    """

    classifier_key = "classifier.1"

    def __init__(
        self,
        width: float = 1.0,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        channels = make_divisible(STEM_CHANNELS * width)
        head_channels = make_divisible(HEAD_CHANNELS * max(1.0, width))
        features: list[nn.Module] = [ConvBNReLU6(in_channels, channels, kernel_size=3, stride=2)]
        for stage in STAGES:
            out_channels = make_divisible(stage.channels * width)
            for i in range(stage.repeats):
                stride = stage.stride if i == 0 else 1
                features.append(
                    InvertedResidual(
                        channels, out_channels, stride=stride, expand_ratio=stage.expand_ratio
                    )
                )
                channels = out_channels
        features.append(ConvBNReLU6(channels, head_channels, kernel_size=1))
        self.features = nn.Sequential(*features)
        linear = nn.Linear(head_channels, num_classes)
        self.classifier = nn.Sequential(nn.Dropout(dropout), linear)
        initialize(self.features, fan_out_normal)
        nn.init.normal_(linear.weight, 0, 0.01)
        nn.init.zeros_(linear.bias)

    def trunk(self) -> OrderedDict[str, nn.Module]:
        return OrderedDict((f"features.{i}", module) for i, module in enumerate(self.features))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(x.mean((2, 3)))  # type: ignore[no-any-return]
