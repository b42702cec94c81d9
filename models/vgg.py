"""VGG: depth from stacks of 3×3 convolutions.

Paper: Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
ICLR 2015, arXiv:1409.1556. State-dict keys are torchvision's. The variants with batch norm are
torchvision's too: the paper is older than batch norm.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

# Table 1 of the paper, columns A, B, D and E by their depth: 3×3 convolutions in each block, a 2×2
# max pooling after each.
BLOCK_DEPTHS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
BLOCK_CHANNELS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """VGG-``depth``.

    Input ``(N, in_channels, H, W)``, at least 32 pixels a side, 224 in the paper (other sizes are
    pooled to the classifier's 7×7); output ``(N, num_classes)`` logits.

    Raises:
        ValueError: ``depth`` is not a column of Table 1 with 3×3 convolutions only.
    """

    classifier_key = "classifier.6"

    def __init__(
        self,
        depth: int,
        batch_norm: bool = False,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if depth not in BLOCK_DEPTHS:
            raise ValueError(f"VGG has {', '.join(map(str, BLOCK_DEPTHS))} layers, not {depth}")
        features: list[nn.Module] = []
        for convolutions, channels in zip(BLOCK_DEPTHS[depth], BLOCK_CHANNELS, strict=True):
            for _ in range(convolutions):
                features.append(nn.Conv2d(in_channels, channels, 3, padding=1))
                if batch_norm:
                    features.append(nn.BatchNorm2d(channels))
                features.append(nn.ReLU(inplace=True))
                in_channels = channels
            features.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(in_channels * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        _initialize(self)

    def trunk(self) -> OrderedDict[str, nn.Module]:
        starts = [
            i
            for i, module in enumerate(self.features)
            if isinstance(module, (nn.Conv2d, nn.MaxPool2d))
        ]
        ends = [*starts[1:], len(self.features)]
        return OrderedDict(
            (f"features.{a}", self.features[a:b]) for a, b in zip(starts, ends, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(x.flatten(1))  # type: ignore[no-any-return]


def _initialize(network: nn.Module) -> None:
    """He initialisation by fan-out, as in torchvision.

    The paper starts VGG-11 from N(0, 0.01²) and the deeper networks from VGG-11.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
