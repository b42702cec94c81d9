"""ResNet, Wide ResNet and ResNeXt: residual learning.

Papers: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385;
Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016, arXiv:1605.07146; Xie et al.,
"Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017, arXiv:1611.05431.
State-dict keys are torchvision's. As in its checkpoints a bottleneck halves the image in its 3×3
convolution; the first paper does it in the 1×1 before, which ignores three quarters of the pixels.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import Tensor, nn

# Table 1 of the ResNet paper: residual blocks in conv2_x to conv5_x.
STAGE_DEPTHS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
STAGE_CHANNELS = (64, 128, 256, 512)
DEEPEST_BASIC = 34


class BasicBlock(nn.Module):
    """Figure 5, left: two 3×3 convolutions."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """Figure 5, right: 1×1, 3×3, 1×1; the 3×3 has ``cardinality`` groups of ``base_width`` channels
    (in conv2_x).
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int,
        cardinality: int = 1,
        base_width: int = 64,
    ) -> None:
        super().__init__()
        width = channels * base_width // 64 * cardinality
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=cardinality, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """ResNet-``depth``, a ResNeXt or a Wide ResNet.

    ResNeXt-50 32×4d is ``ResNet(50, cardinality=32, base_width=4)``, Wide ResNet-50-2 is
    ``ResNet(50, base_width=128)``. Input ``(N, in_channels, H, W)``; output ``(N, num_classes)``
    logits.

    Raises:
        ValueError: ``depth`` is not in Table 1, or has basic blocks, which are neither grouped nor
            widened.
    """

    classifier_key = "fc"

    def __init__(
        self,
        depth: int,
        cardinality: int = 1,
        base_width: int = 64,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if depth not in STAGE_DEPTHS:
            raise ValueError(f"ResNet has {', '.join(map(str, STAGE_DEPTHS))} layers, not {depth}")
        if depth <= DEEPEST_BASIC and (cardinality, base_width) != (1, 64):
            raise ValueError(
                f"ResNet-{depth} has basic blocks, which have neither cardinality nor width"
            )
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        stages: list[nn.Sequential] = []
        for stage_channels, repeats in zip(STAGE_CHANNELS, STAGE_DEPTHS[depth], strict=True):
            blocks: list[nn.Module] = []
            for i in range(repeats):
                stride = 2 if i == 0 and stages else 1
                if depth <= DEEPEST_BASIC:
                    blocks.append(BasicBlock(channels, stage_channels, stride=stride))
                    channels = stage_channels * BasicBlock.expansion
                else:
                    blocks.append(
                        Bottleneck(
                            channels,
                            stage_channels,
                            stride=stride,
                            cardinality=cardinality,
                            base_width=base_width,
                        )
                    )
                    channels = stage_channels * Bottleneck.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        _initialize(self, blocks=sum(STAGE_DEPTHS[depth]))

    def trunk(self) -> OrderedDict[str, nn.Module]:
        stem = nn.Sequential(self.conv1, self.bn1, self.relu)
        layers = {
            f"layer{i}": layer
            for i, layer in enumerate((self.layer1, self.layer2, self.layer3, self.layer4), 1)
        }
        return OrderedDict([("stem", stem), ("maxpool", self.maxpool), *layers.items()])

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))  # type: ignore[no-any-return]


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """Option B of Section 4.1: a 1×1 convolution on the shortcut where the shape changes, else the
    identity.
    """
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
    )


def _initialize(network: nn.Module, *, blocks: int) -> None:
    """He initialisation by fan-out over groups; the last batch norm of a residual branch starts at
    1/√blocks.

    The paper starts it at 1; then every block of an untrained network doubles the variance in
    evaluation, 2⁵⁰ times in ResNet-152. Goyal et al. (arXiv:1706.02677) start it at 0; then the
    branches of an untrained network have no effect. With 1/√blocks all blocks together multiply the
    variance by less than e.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = (
                module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            )
            nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
        elif isinstance(module, BasicBlock):
            nn.init.constant_(module.bn2.weight, blocks**-0.5)
        elif isinstance(module, Bottleneck):
            nn.init.constant_(module.bn3.weight, blocks**-0.5)
