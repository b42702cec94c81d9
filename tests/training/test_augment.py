"""The augmentation of images."""

from __future__ import annotations

import pytest
import torch

from edgekit.training.augment import SHIFT, Augmentation
from edgekit.training.config import TrainConfig


@pytest.mark.parametrize("size", [(16, 64), (64, 16)])
def test_a_small_image_is_shifted_by_a_part_of_each_side(size: tuple[int, int]) -> None:
    """What leaves the image is black on the other side."""
    config = TrainConfig(augment="light")
    augmentation = Augmentation(config, config.stages(size)[0], classes=2)
    torch.manual_seed(0)
    white = torch.full((1, *size), 255, dtype=torch.uint8)
    images = augmentation.images([white] * 256)[:, 0]
    rows, columns = ((images.sum(axis) == 0).sum(1).max() for axis in (2, 1))
    assert (int(rows), int(columns)) == (size[0] // SHIFT, size[1] // SHIFT)
