"""Layouts of channels on a GPU, distinguished from the layout of the shape."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.layerwise.layout import in_another_layout


def image(channels: int) -> np.ndarray:
    """Values as behind a ReLU, whose mean alone is most of the signal."""
    return np.maximum(np.random.default_rng(channels).normal(1, 1, (2, channels, 7, 5)), 0).astype(
        np.float32
    )


def noisy(values: np.ndarray, share: float) -> np.ndarray:
    return (values + share * np.random.default_rng(0).normal(0, 1, values.shape)).astype(np.float32)


@pytest.mark.parametrize("group", [2, 4, 8, 16, 32])
@pytest.mark.parametrize("channels", [12, 24, 96])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_channels_side_by_side_are_another_order(channels, group, share):
    values = image(channels)
    padded = np.zeros((2, -(-channels // group), group, 7, 5), np.float32)
    for channel in range(channels):
        padded[:, channel // group, channel % group] = values[:, channel]
    stored = np.moveaxis(padded, 2, -1).ravel()[: values.size].reshape(values.shape)
    assert in_another_layout(values, noisy(stored, share))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 3.0])
def test_noise_is_no_order(share):
    for channels in (1, 3, 24, 96):
        assert not in_another_layout(image(channels), noisy(image(channels), share))


def test_a_broken_layer_is_no_order():
    values = image(24)
    for broken in (
        values[:, ::-1],
        -values,
        values * 0,
        values * 100,
        image(24)[::-1],
        np.full_like(values, np.nan),
    ):
        assert not in_another_layout(values, np.ascontiguousarray(broken))


def test_rows_have_one_order():
    values = image(24)[:, :, 0, 0]
    assert not in_another_layout(values, values[:, ::-1])
