"""Factories as users write them: one correct, the others wrong in different ways."""

import os
import time

import torch
from torch import nn


class Tiny(nn.Module):
    """Two convolutions and a classifier of 8 classes."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()
        )
        self.head = nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


def build() -> nn.Module:
    torch.manual_seed(0)
    return Tiny()


class Wide(nn.Module):
    """Wide enough for INT8 kernels: 32 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU()
        )
        self.head = nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


def wide() -> nn.Module:
    torch.manual_seed(0)
    return Wide()


def chatty() -> nn.Module:
    print("building the network")
    return build()


def raises() -> nn.Module:
    raise ValueError("the weights are on another disk")


def exits() -> nn.Module:
    raise SystemExit(0)


def needs_argument(classes: int) -> nn.Module:
    return Tiny()


def state_dict() -> dict[str, torch.Tensor]:
    return dict(build().state_dict())


def returns_none() -> None:
    return None


def two_outputs() -> nn.Module:
    class Network(Tiny):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x), x

    return Network()


def feature_map() -> nn.Module:
    return nn.Conv2d(3, 8, 3)


def five_channels() -> nn.Module:
    return Tiny(5)


def breaks_in_forward() -> nn.Module:
    class Network(Tiny):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x)

    return Network()


def lazy() -> nn.Module:
    return nn.Sequential(
        nn.LazyConv2d(8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(8)
    )


def not_finite() -> nn.Module:
    network = build()
    nn.init.constant_(network.head.bias, float("nan"))
    return network


def leaves_with_the_process() -> nn.Module:
    os.kill(os.getpid(), 9)
    return build()


not_callable = 3


CALLS: list[None] = []


class Drifting(Tiny):
    """Returns something else at every call, so that no graph can be equal to it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        CALLS.append(None)
        return super().forward(x) * (1 + len(CALLS))


def drifts() -> nn.Module:
    torch.manual_seed(0)
    return Drifting()


def hoards() -> nn.Module:
    kept = []
    while True:
        kept.append(torch.ones(10_000_000))
        time.sleep(0.01)


def sleeps() -> nn.Module:
    while True:
        time.sleep(1)


def aborts() -> nn.Module:
    os.abort()
