"""What the tests of checkpoints share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from edgekit.models.pretrained.state_dict import CheckpointError


class Net(nn.Module):
    classifier_key = "head"

    def __init__(self, num_classes: int = 5, in_channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, num_classes)


def state_of(net: nn.Module | None = None) -> dict[str, Tensor]:
    """Tensors of the shapes of ``net``, all different."""
    state = (net or Net()).state_dict()
    return {
        key: torch.arange(value.numel()).reshape(value.shape).to(value.dtype) + i
        for i, (key, value) in enumerate(state.items())
    }


def is_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def refused(action: Callable[[], object], *parts: str) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        action()
    for part in parts:
        assert part in caught.value.message
    return caught.value
