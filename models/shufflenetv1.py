"""ShuffleNet (v1): pointwise group convolutions and channel shuffle.

Paper: Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile
Devices", CVPR 2018, arXiv:1707.01083. State-dict keys and channel counts are pytorchcv's
``shufflenet_g*``.

The paper scales the filters of Table 1 by a factor s and does not say what happens where the groups
then do not divide them. Here the first stage is rounded up to a multiple of 4·groups, so that the
bottleneck (a quarter) divides too, and the stem to a multiple of groups; later stages double. This
changes none of the networks that pytorchcv has.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import channel_shuffle, fan_in_uniform, initialize

STEM_CHANNELS = 24

# Table 1: output channels of stage 2 for each number of groups. Each later stage doubles them.
CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
REPEATS = (4, 8, 4)


class ChannelShuffle(nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return channel_shuffle(x, self.groups)


class ShuffleUnit(nn.Sequential):
    """Figure 2 (b) and (c): group 1×1, shuffle, depthwise 3×3, group 1×1; added to its input or, at
    stride 2, concatenated with its pooled input.

    ``first_groups`` is 1 in the very first unit, whose input has too few channels to group (Section
    3.2).
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, groups: int, first_groups: int, stride: int
    ) -> None:
        bottleneck = out_channels // 4
        branch_channels = out_channels - in_channels if stride == 2 else out_channels
        layers = [
            (
                "compress_conv1",
                nn.Conv2d(in_channels, bottleneck, 1, groups=first_groups, bias=False),
            ),
            ("compress_bn1", nn.BatchNorm2d(bottleneck)),
            ("activ", nn.ReLU(inplace=True)),
            ("c_shuffle", ChannelShuffle(groups)),
            (
                "dw_conv2",
                nn.Conv2d(bottleneck, bottleneck, 3, stride, 1, groups=bottleneck, bias=False),
            ),
            ("dw_bn2", nn.BatchNorm2d(bottleneck)),
            ("expand_conv3", nn.Conv2d(bottleneck, branch_channels, 1, groups=groups, bias=False)),
            ("expand_bn3", nn.BatchNorm2d(branch_channels)),
        ]
        super().__init__(OrderedDict(layers))
        self.use_shortcut = stride == 1

    def forward(self, input: Tensor) -> Tensor:
        branch: Tensor = super().forward(input)  # type: ignore[no-untyped-call]
        if self.use_shortcut:
            return F.relu(input + branch)
        return F.relu(torch.cat((branch, F.avg_pool2d(input, 3, 2, 1)), 1))


class ShuffleNetV1(nn.Module):
    """ShuffleNet with 1, 2, 3, 4 or 8 groups at any width.

    Input ``(N, in_channels, H, W)`` with H and W multiples of 32 for whole strides; output ``(N,
    num_classes)`` logits.

    Raises:
        ValueError: Table 1 has no column for ``groups``.
    """

    classifier_key = "output"

    def __init__(
        self, groups: int = 3, width: float = 1.0, *, num_classes: int = 1000, in_channels: int = 3
    ) -> None:
        super().__init__()
        if groups not in CHANNELS:
            raise ValueError(f"ShuffleNet has 1, 2, 3, 4 or 8 groups, not {groups}")
        channels = _round_up(STEM_CHANNELS * width, groups)
        out_channels = _round_up(CHANNELS[groups] * width, 4 * groups)
        init_block = [
            ("conv", nn.Conv2d(in_channels, channels, 3, 2, 1, bias=False)),
            ("bn", nn.BatchNorm2d(channels)),
            ("activ", nn.ReLU(inplace=True)),
            ("pool", nn.MaxPool2d(3, 2, 1)),
        ]
        stages: list[tuple[str, nn.Module]] = [
            ("init_block", nn.Sequential(OrderedDict(init_block)))
        ]
        for i, repeats in enumerate(REPEATS, 1):
            units: list[tuple[str, nn.Module]] = []
            for j in range(1, repeats + 1):
                first_groups = 1 if i == j == 1 else groups
                stride = 2 if j == 1 else 1
                unit = ShuffleUnit(
                    channels, out_channels, groups=groups, first_groups=first_groups, stride=stride
                )
                units.append((f"unit{j}", unit))
                channels = out_channels
            stages.append((f"stage{i}", nn.Sequential(OrderedDict(units))))
            out_channels *= 2
        self.features = nn.Sequential(OrderedDict(stages))
        self.output = nn.Linear(channels, num_classes)
        initialize(self.features, fan_in_uniform)

    def trunk(self) -> OrderedDict[str, nn.Module]:
        return OrderedDict(
            (f"features.{name}", module) for name, module in self.features.named_children()
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.output(x.mean((2, 3)))  # type: ignore[no-any-return]


def _round_up(channels: float, divisor: int) -> int:
    return math.ceil(channels / divisor) * divisor
