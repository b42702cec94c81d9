"""MBConv, EfficientNet's block, which EfficientNetV2 keeps in its later stages.

Paper: Tan & Le, "EfficientNet", ICML 2019, arXiv:1905.11946, Section 4; keys are torchvision's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from .layers import ConvNormAct, SqueezeExcite, StochasticDepth

_silu = partial(nn.SiLU, inplace=True)


class MBConv(nn.Module):
    """Expand, depthwise, squeeze-excite to a quarter of the input, project; identity shortcut with
    stochastic depth where shapes agree.
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
        layers: list[nn.Module] = (
            [conv(in_channels, hidden, kernel_size=1)] if expand_ratio != 1 else []
        )
        layers += [
            conv(hidden, hidden, kernel_size=kernel_size, stride=stride, groups=hidden),
            SqueezeExcite(hidden, in_channels // 4, activation=_silu),
            conv(hidden, out_channels, kernel_size=1, activation=None),
        ]
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = StochasticDepth(drop)
        self.use_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + self.stochastic_depth(y) if self.use_shortcut else y
