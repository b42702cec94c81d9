"""Comparisons that the oracles share."""

from __future__ import annotations

import torch
from torch import Tensor

FAST = [
    "alexnet",
    "vgg11",
    "vgg11_bn",
    "googlenet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnext50_32x4d",
]


SLOW = [
    *("vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "resnet101", "resnet152"),
    *("wide_resnet50_2", "wide_resnet101_2", "resnext101_32x8d", "resnext101_64x4d"),
]


def images(size: int, *, count: int = 2, channels: int = 3) -> Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1))


def assert_equal(ours: Tensor, theirs: Tensor) -> None:
    """Equal to 1e-5 of the range."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5 * (theirs.max() - theirs.min())


def assert_live(logits: Tensor) -> None:
    """Logits that differ between classes and between images, and explode nowhere."""
    assert logits.isfinite().all()
    assert 1e-3 < logits.std(1).mean() < 1e2
    assert (logits[0] - logits[1]).norm() > 1e-2 * logits.norm()
