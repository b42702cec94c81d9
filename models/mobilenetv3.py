"""MobileNetV3: searched bottlenecks with squeeze-and-excitation and h-swish.

Paper: Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244. State-dict keys and
widths are torchvision's. Its differences to the authors' TensorFlow code: padding is symmetric, and
below width 1 the last two layers shrink with the rest. Batch-norm ε 1e-3 and momentum 0.01 are the
authors'.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from .layers import ConvNormAct, SqueezeExcite, fan_out_normal, initialize, make_divisible


@dataclass(frozen=True)
class Row:
    """A bottleneck: kernel size, expanded and output channels, squeeze-excite, h-swish (ReLU
    without), stride.
    """

    kernel_size: int
    expanded: int
    channels: int
    squeeze_excite: bool
    hard_swish: bool
    stride: int


STEM_CHANNELS = 16

# Table 1 of the paper: kernel, exp size, #out, SE, NL, s.
LARGE = (
    Row(3, 16, 16, False, False, 1),
    Row(3, 64, 24, False, False, 2),
    Row(3, 72, 24, False, False, 1),
    Row(5, 72, 40, True, False, 2),
    Row(5, 120, 40, True, False, 1),
    Row(5, 120, 40, True, False, 1),
    Row(3, 240, 80, False, True, 2),
    Row(3, 200, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 480, 112, True, True, 1),
    Row(3, 672, 112, True, True, 1),
    Row(5, 672, 160, True, True, 2),
    Row(5, 960, 160, True, True, 1),
    Row(5, 960, 160, True, True, 1),
)

# Table 2.
SMALL = (
    Row(3, 16, 16, True, False, 2),
    Row(3, 72, 24, False, False, 2),
    Row(3, 88, 24, False, False, 1),
    Row(5, 96, 40, True, True, 2),
    Row(5, 240, 40, True, True, 1),
    Row(5, 240, 40, True, True, 1),
    Row(5, 120, 48, True, True, 1),
    Row(5, 144, 48, True, True, 1),
    Row(5, 288, 96, True, True, 2),
    Row(5, 576, 96, True, True, 1),
    Row(5, 576, 96, True, True, 1),
)

LAST_EXPANSION = 6  # the last 1×1 convolution: 960 = 6·160, 576 = 6·96
# With the width of the layer behind the pooling.
NETWORKS = {"large": (LARGE, 1280), "small": (SMALL, 1024)}

_norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


def _activation(hard_swish: bool) -> nn.Module:
    return nn.Hardswish(inplace=True) if hard_swish else nn.ReLU(inplace=True)


class InvertedResidual(nn.Module):
    """Figure 4: expand, depthwise, squeeze-excite, project; identity shortcut where shapes agree.
    Channel counts are final.
    """

    def __init__(self, in_channels: int, row: Row) -> None:
        super().__init__()
        activation = partial(_activation, row.hard_swish)
        layers: list[nn.Module] = []
        if row.expanded != in_channels:
            layers.append(
                ConvNormAct(
                    in_channels, row.expanded, kernel_size=1, norm=_norm, activation=activation
                )
            )
        layers.append(
            ConvNormAct(
                row.expanded,
                row.expanded,
                kernel_size=row.kernel_size,
                stride=row.stride,
                groups=row.expanded,
                norm=_norm,
                activation=activation,
            )
        )
        if row.squeeze_excite:
            layers.append(
                SqueezeExcite(row.expanded, make_divisible(row.expanded // 4), gate=nn.Hardsigmoid)
            )
        layers.append(
            ConvNormAct(row.expanded, row.channels, kernel_size=1, norm=_norm, activation=None)
        )
        self.block = nn.Sequential(*layers)
        self.use_shortcut = row.stride == 1 and in_channels == row.channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.use_shortcut else y


class MobileNetV3(nn.Module):
    """MobileNetV3 ``"large"`` or ``"small"`` at any width.

    ``minimalistic`` is the authors' variant for accelerators without fast 5×5, sigmoid or
    broadcasting kernels: every kernel 3×3, every activation ReLU, no squeeze-and-excitation.

    Input ``(N, in_channels, H, W)`` with H and W multiples of 32 for whole strides; output ``(N,
    num_classes)`` logits.

    Raises:
        ValueError: ``size`` is neither ``"large"`` nor ``"small"``.
    """

    classifier_key = "classifier.3"

    def __init__(
        self,
        size: str = "large",
        width: float = 1.0,
        minimalistic: bool = False,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if size not in NETWORKS:
            raise ValueError(f"MobileNetV3 is large or small, not {size!r}")
        rows, hidden = NETWORKS[size]
        hidden = make_divisible(hidden * width)
        activation = partial(_activation, not minimalistic)
        channels = make_divisible(STEM_CHANNELS * width)
        features: list[nn.Module] = [
            ConvNormAct(
                in_channels, channels, kernel_size=3, stride=2, norm=_norm, activation=activation
            )
        ]
        for row in rows:
            row = _scaled(_minimal(row) if minimalistic else row, width)
            features.append(InvertedResidual(channels, row))
            channels = row.channels
        pooled = LAST_EXPANSION * channels
        features.append(
            ConvNormAct(channels, pooled, kernel_size=1, norm=_norm, activation=activation)
        )
        self.features = nn.Sequential(*features)
        # Section 5.1: the former last stage, moved behind the pooling, where it costs a matrix
        # product on one pixel.
        linears = nn.Linear(pooled, hidden), nn.Linear(hidden, num_classes)
        self.classifier = nn.Sequential(linears[0], activation(), nn.Dropout(dropout), linears[1])
        initialize(self.features, fan_out_normal)
        for linear in linears:
            nn.init.normal_(linear.weight, 0, 0.01)
            nn.init.zeros_(linear.bias)

    def trunk(self) -> OrderedDict[str, nn.Module]:
        return OrderedDict((f"features.{i}", module) for i, module in enumerate(self.features))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(x.mean((2, 3)))  # type: ignore[no-any-return]


def _scaled(row: Row, width: float) -> Row:
    expanded, channels = make_divisible(row.expanded * width), make_divisible(row.channels * width)
    return replace(row, expanded=expanded, channels=channels)


def _minimal(row: Row) -> Row:
    return replace(row, kernel_size=3, squeeze_excite=False, hard_swish=False)
