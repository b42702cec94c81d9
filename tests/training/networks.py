"""Networks that misbehave while they are trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Small(nn.Module):
    """Three classes, 16 pixels and up; counts the batches it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 3)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        features = torch.relu(self.norm(self.conv(x)))
        return self.fc(features.mean((2, 3)))  # type: ignore[no-any-return]


class Viewing(Small):
    """For 32 pixels. Its ``view`` needs feature maps in the default memory layout."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8 * 15 * 15, 3)

    def forward(self, x: Tensor) -> Tensor:
        features = torch.relu(self.norm(self.conv(x)))
        return self.fc(features.view(len(x), -1))  # type: ignore[no-any-return]


class Auxiliary(Small):
    """Its layer has the name of an auxiliary classifier, but it computes the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.auxiliary = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        features = torch.relu(self.norm(self.conv(x)))
        return self.fc(self.auxiliary(features.mean((2, 3))))  # type: ignore[no-any-return]


class Distilled(Small):
    """The mean of two classifiers, as in distilled transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc_dist = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        features = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return (self.fc(features) + self.fc_dist(features)) / 2  # type: ignore[no-any-return]


class Poisoned(Small):
    """NaN in its second epoch."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits * torch.nan if self.training and self.calls > 5 else logits


class Hungry(Small):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise MemoryError
        return super().forward(x)


def small() -> nn.Module:
    return Small()


def viewing() -> nn.Module:
    return Viewing()


def auxiliary() -> nn.Module:
    return Auxiliary()


def poisoned() -> nn.Module:
    return Poisoned()


def hungry() -> nn.Module:
    return Hungry()
