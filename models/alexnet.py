"""AlexNet: the network that won ILSVRC 2012, in two layouts.

``2012``  Krizhevsky, Sutskever & Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks", NeurIPS
          2012, Section 3 and Figure 2: local response normalisation, and convolutions split between
          two GPUs, here as two groups.
``2014``  Krizhevsky, "One weird trick for parallelizing convolutional neural networks",
arXiv:1404.5997: one tower, no
          normalisation, fewer channels. Layer sizes and state-dict keys are torchvision's.

The 2012 paper says 224 pixels, but its layer sizes need 227. Here, as in torchvision, the first
layer pads 224 by 2. Both layouts use PyTorch's default initialisation, as torchvision does; the
paper uses N(0, 0.01²) and sets some biases to 1.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from .lrn import LocalResponseNorm


@dataclass(frozen=True)
class Layer:
    """A convolution with ReLU, optionally followed by local response normalisation and overlapping
    3×3 max pooling.
    """

    channels: int
    kernel_size: int
    stride: int = 1
    padding: int = 1
    groups: int = 1
    normalize: bool = False
    pool: bool = False


LAYOUTS = {
    "2012": (
        Layer(96, 11, 4, 2, normalize=True, pool=True),
        Layer(256, 5, padding=2, groups=2, normalize=True, pool=True),
        Layer(384, 3),
        Layer(384, 3, groups=2),
        Layer(256, 3, groups=2, pool=True),
    ),
    "2014": (
        Layer(64, 11, 4, 2, pool=True),
        Layer(192, 5, padding=2, pool=True),
        Layer(384, 3),
        Layer(256, 3),
        Layer(256, 3, pool=True),
    ),
}


class AlexNet(nn.Module):
    """AlexNet in the layout of 2012 or 2014.

    Input ``(N, in_channels, H, W)``, at least 63 pixels a side, 224 in the papers (other sizes are
    pooled to the classifier's 6×6); output ``(N, num_classes)`` logits.

    Raises:
        ValueError: the layout is unknown.
    """

    classifier_key = "classifier.6"

    def __init__(
        self,
        layout: str = "2014",
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if layout not in LAYOUTS:
            raise ValueError(f"AlexNet has the layouts {', '.join(LAYOUTS)}, not {layout}")
        features: list[nn.Module] = []
        for layer in LAYOUTS[layout]:
            features += [
                nn.Conv2d(
                    in_channels,
                    layer.channels,
                    layer.kernel_size,
                    layer.stride,
                    layer.padding,
                    groups=layer.groups,
                ),
                nn.ReLU(inplace=True),
            ]
            if layer.normalize:
                # The paper's α = 1e-4 multiplies the sum over the window; in PyTorch and ONNX it
                # multiplies the mean.
                features.append(LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0))
            if layer.pool:
                features.append(nn.MaxPool2d(3, 2))
            in_channels = layer.channels
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(in_channels * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, num_classes),
        )

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
