"""Networks for images of 32 pixels, for ``train.py``."""

from __future__ import annotations

from torch import Tensor, nn

from edgekit.models.resnet import STAGE_DEPTHS, BasicBlock

CLASSES = 10
CHANNELS = (16, 32, 64, 128)  # a quarter of those of ResNet-18


class NarrowResNet(nn.Module):
    """ResNet-18 with a quarter of its channels and a stem for small images: 3 × 3 with stride 2,
    without pooling.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = CHANNELS[0]
        self.conv1 = nn.Conv2d(3, channels, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        blocks: list[nn.Module] = []
        for stage, (wide, repeats) in enumerate(zip(CHANNELS, STAGE_DEPTHS[18], strict=True)):
            for i in range(repeats):
                blocks.append(BasicBlock(channels, wide, stride=2 if stage and not i else 1))
                channels = wide
        self.layers = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(self.relu(self.bn1(self.conv1(x))))
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


def resnet18_narrow() -> nn.Module:
    return NarrowResNet()
