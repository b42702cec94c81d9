"""ShuffleNetV2: half of the channels pass unchanged, half are convolved, then they are shuffled.

Paper: Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", ECCV
2018, arXiv:1807.11164. State-dict keys are torchvision's.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from .layers import as_constructed, channel_shuffle, initialize

STEM_CHANNELS = 24
REPEATS = (4, 8, 4)

# Table 5: width, then the output channels of stage 2 (stages 3 and 4 double them) and of conv5.
CHANNELS = {0.5: (48, 1024), 1.0: (116, 1024), 1.5: (176, 1024), 2.0: (244, 2048)}


def _pointwise(in_channels: int, out_channels: int) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]


def _depthwise(channels: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


class ShuffleUnit(nn.Module):
    """Figure 3 (c) and (d): at stride 1 one half of the channels passes unchanged; at stride 2 both
    branches see the whole input.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.split = stride == 1
        branch_channels = half if self.split else in_channels
        self.branch1 = nn.Sequential(
            *(
                []
                if self.split
                else [*_depthwise(in_channels, stride), *_pointwise(in_channels, half)]
            )
        )
        self.branch2 = nn.Sequential(
            *_pointwise(branch_channels, half), *_depthwise(half, stride), *_pointwise(half, half)
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1) if self.split else (x, x)
        return channel_shuffle(torch.cat((self.branch1(left), self.branch2(right)), 1), 2)


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2 at one of the widths of Table 5.

    Input ``(N, in_channels, H, W)`` with H and W multiples of 32 for whole strides; output ``(N,
    num_classes)`` logits.

    Raises:
        ValueError: Table 5 has no column for ``width``.
    """

    classifier_key = "fc"

    def __init__(
        self, width: float = 1.0, *, num_classes: int = 1000, in_channels: int = 3
    ) -> None:
        super().__init__()
        if width not in CHANNELS:
            raise ValueError(f"ShuffleNetV2 has width 0.5, 1.0, 1.5 or 2.0, not {width}")
        channels = STEM_CHANNELS
        out_channels, head_channels = CHANNELS[width]
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, 2, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        stages: list[nn.Module] = []
        for repeats in REPEATS:
            units = [ShuffleUnit(channels, out_channels, stride=2)]
            units += [ShuffleUnit(out_channels, out_channels, stride=1) for _ in range(repeats - 1)]
            stages.append(nn.Sequential(*units))
            channels, out_channels = out_channels, 2 * out_channels
        self.stage2, self.stage3, self.stage4 = stages
        self.conv5 = nn.Sequential(*_pointwise(channels, head_channels))
        self.fc = nn.Linear(head_channels, num_classes)
        initialize(self, as_constructed)

    def trunk(self) -> OrderedDict[str, nn.Module]:
        names = ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5")
        return OrderedDict((name, self.get_submodule(name)) for name in names)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))
        x = self.stage4(self.stage3(self.stage2(x)))
        x = self.conv5(x)
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]
