"""LeNet-5: digits from pixels.

Paper: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of the
IEEE 86(11), 1998, doi:10.1109/5.726791, Section II.B.

Two layouts share the layer sizes of Figure 2. :class:`LeNet5` is the one in use today: ReLU, max
pooling, every map of C3 connected to every map of S2. :class:`LeNet5Original` is the paper's:
scaled tanh, trainable subsampling, and the sparse connections of Table I. Its output layer is
linear where the paper has fixed radial basis functions, whose targets are bitmaps of ASCII
characters and mean nothing for other classes.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Table I: the maps of S2 that each map of C3 sees.
C3_INPUTS = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)


class ScaledTanh(nn.Module):
    """1.7159 · tanh(2x / 3): ±1 map to ±1, with the largest curvature there (Appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(x * (2 / 3))


class Subsampling(nn.Module):
    """S2 and S4: the sum of each 2×2 field, times one trainable coefficient per map, plus one
    trainable bias per map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # With 1/4 the sum becomes the mean.
        self.weight = nn.Parameter(torch.full((channels, 1, 1), 0.25))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) * (4 * self.weight) + self.bias


class TableConv2d(nn.Conv2d):
    """A convolution with a connection table: output map ``o`` sees the input maps ``table[o]``, and
    has weights for them.

    ``weight`` is ``(connections, kernel, kernel)``, in the order of the table.
    """

    def __init__(
        self, in_channels: int, table: tuple[tuple[int, ...], ...], kernel_size: int
    ) -> None:
        super().__init__(in_channels, len(table), kernel_size)
        self.rows = [o for o, inputs in enumerate(table) for _ in inputs]
        self.columns = [i for inputs in table for i in inputs]
        self.weight = nn.Parameter(torch.empty(len(self.rows), kernel_size, kernel_size))

    def forward(self, input: Tensor) -> Tensor:
        dense = self.weight.new_zeros(self.out_channels, self.in_channels, *self.kernel_size)
        dense[self.rows, self.columns] = self.weight
        return F.conv2d(input, dense, self.bias)


class LeNet5(nn.Module):
    """LeNet-5 as it is built today.

    Input ``(N, in_channels, size, size)``, ``size`` 28 (the digits as MNIST stores them, padded by
    the first layer) or 32 (as in the paper); output ``(N, num_classes)`` logits.

    Raises:
        ValueError: another ``size``.
    """

    classifier_key = "classifier.5"

    def __init__(
        self, size: int = 28, *, num_classes: int = 10, in_channels: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=_padding(size)),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(16 * 5 * 5, 120),
            nn.ReLU(inplace=True),
            nn.Linear(120, 84),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(84, num_classes),
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def trunk(self) -> OrderedDict[str, nn.Module]:
        return OrderedDict((f"features.{i}", module) for i, module in enumerate(self.features))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))  # type: ignore[no-any-return]


class LeNet5Original(nn.Module):
    """LeNet-5 as in the paper: Figure 2's layers under Figure 2's names, 60,000 trainable
    parameters below the output layer.

    Input ``(N, in_channels, size, size)``, ``size`` 28 or 32, background -0.1 and ink 1.175; output
    ``(N, num_classes)`` logits.

    Raises:
        ValueError: another ``size``.
    """

    classifier_key = "output"

    def __init__(self, size: int = 32, *, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(in_channels, 6, 5, padding=_padding(size))
        self.s2 = Subsampling(6)
        self.c3 = TableConv2d(6, C3_INPUTS, 5)
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)
        self.squash = ScaledTanh()
        _initialize(self)

    def trunk(self) -> OrderedDict[str, nn.Module]:
        layers = {"c1": self.c1, "s2": self.s2, "c3": self.c3, "s4": self.s4, "c5": self.c5}
        return OrderedDict(
            (name, nn.Sequential(layer, self.squash)) for name, layer in layers.items()
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.c1, self.s2, self.c3, self.s4, self.c5):
            x = self.squash(layer(x))
        return self.output(self.squash(self.f6(x.flatten(1))))  # type: ignore[no-any-return]


def _padding(size: int) -> int:
    if size not in (28, 32):
        raise ValueError(f"LeNet-5 takes images of 28 or 32 pixels, not {size}")
    return (32 - size) // 2


def _initialize(network: nn.Module) -> None:
    """Variance 1 / fan-in, which keeps the signal of tanh units (LeCun et al., "Efficient
    BackProp", 1998, Section 4.6).

    With Appendix A's ±2.4 / fan-in the signal vanishes: the logits of an untrained network would
    differ by less than 1e-3.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            outputs = (
                module.weight.shape[0]
                if not isinstance(module, TableConv2d)
                else module.out_channels
            )
            nn.init.normal_(module.weight, 0, math.sqrt(outputs / module.weight.numel()))
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
