"""Depthwise convolutions as matrix products have the outputs and gradients of ``conv2d``."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgekit.training import depthwise
from edgekit.training.depthwise import SmallDepthwise


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((1, 1), (5, 5), (1, 1), (2, 2)),
        ((2, 2), (3, 3), (2, 2), (1, 1)),
        ((4, 4), (5, 5), (2, 2), (2, 2)),
        ((3, 5), (3, 2), (1, 2), (0, 1)),
    ],
)
@pytest.mark.parametrize("biased", [True, False])
def test_it_equals_conv2d(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    biased: bool,
) -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    x, weight, bias = drawn(3, 6, *size), drawn(6, 1, *kernel), drawn(6) if biased else None
    leaves = [x, weight] if bias is None else [x, weight, bias]
    wanted = F.conv2d(x, weight, bias, stride, padding, 1, 6)
    found = depthwise.depthwise(x, weight, bias, stride, padding)
    torch.testing.assert_close(found, wanted)
    gradient = torch.randn(wanted.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad(found, leaves, gradient), torch.autograd.grad(wanted, leaves, gradient)
    )


def test_calls_with_names_and_single_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 6, 3, 3, generator=generator), torch.randn(6, 1, 3, 3)
    wanted = F.conv2d(x, weight, stride=2, padding=1, groups=6)
    monkeypatch.setattr(depthwise, "LARGEST", 9)
    with SmallDepthwise():
        found = F.conv2d(x, weight, stride=2, padding=1, groups=6)
        torch.testing.assert_close(F.conv2d(x, weight, padding="same", groups=6).shape, x.shape)
    torch.testing.assert_close(found, wanted)


def test_only_small_depthwise_convolutions_change(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    own = depthwise.depthwise

    def noted(x: torch.Tensor, *others: object) -> torch.Tensor:
        used.append(x.shape[-1])
        return own(x, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(depthwise, "depthwise", noted)
    network = nn.Sequential(
        nn.Conv2d(4, 4, 3, 2, 1, groups=4),  # 8 × 8: too large
        nn.Conv2d(4, 4, 3, 1, 1, groups=4),  # 4 × 4
        nn.Conv2d(4, 4, 3, 1, 2, groups=4, dilation=2),
        nn.Conv2d(4, 4, 3, 1, "same", groups=4),
        nn.Conv2d(4, 8, 3, 2, 1, groups=4),  # two outputs per channel
        nn.Conv2d(8, 8, 1, groups=2),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8),  # 2 × 2
    )
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    wanted = network(x)
    with SmallDepthwise():
        found = network(x)
    assert used == [4, 2]
    torch.testing.assert_close(found, wanted)
