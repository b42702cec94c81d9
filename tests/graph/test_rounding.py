"""Rounding weights to FP16: neighbours only, channels keep their means, single layers and the real
MobileNetV2.
"""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph.forms.fp16_rounding import CANDIDATES, ROWS, round_keeping_mean


def nearest(weight):
    return weight.astype(np.float16).astype(np.float32)


def shifts(rounded, weight, mean, bias=None):
    """How far each channel's mean output moved."""
    moved = ((rounded.astype(np.float64) - weight) * mean).reshape(len(weight), -1).sum(axis=1)
    return moved if bias is None else moved + nearest(bias).astype(np.float64) - bias


def is_neighbour(rounded, weight):
    """Whether each number is one of the two FP16 numbers around the exact one, or that one
    itself.
    """
    near = weight.astype(np.float16)
    with np.errstate(over="ignore"):
        down = np.where(
            near.astype(np.float32) > weight, np.nextafter(near, np.float16(-np.inf)), near
        ).astype(np.float32)
        up = np.where(
            near.astype(np.float32) < weight, np.nextafter(near, np.float16(np.inf)), near
        ).astype(np.float32)
    return (rounded == down) | (rounded == up)


SHAPES = [(8, 16, 3, 3), (8, 1, 3, 3), (5, 40), (ROWS + 3, 7), (3, CANDIDATES + 50)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("with_bias", [False, True])
def test_every_weight_becomes_a_neighbour_and_means_are_kept(noise, shape, with_bias):
    weight, mean = noise(*shape, scale=0.1), np.abs(noise(*shape, seed=1)) + 0.1
    bias = noise(shape[0], seed=2) if with_bias else None
    rounded = round_keeping_mean(weight, bias, mean)
    assert rounded.dtype == np.float32 and rounded.shape == weight.shape
    assert is_neighbour(rounded, weight).all()
    before, after = (np.abs(shifts(r, weight, mean, bias)) for r in (nearest(weight), rounded))
    assert (after <= before).all()
    assert after.sum() < before.sum() / (10 if weight[0].size > 16 else 2)


def test_no_channel_is_off_by_more_than_a_step_of_its_weights(noise):
    weight, mean = noise(64, 32, 3, 3, scale=0.1), np.abs(noise(64, 32, 3, 3, seed=1)) + 0.1
    rounded = round_keeping_mean(weight, None, mean)
    step = (np.spacing(weight.astype(np.float16)).astype(np.float64) * mean).reshape(64, -1)
    assert (np.abs(shifts(rounded, weight, mean)) <= np.abs(step).max(axis=1)).all()
    assert (np.abs(shifts(rounded, weight, mean)) <= np.median(np.abs(step), axis=1)).mean() > 0.9


def test_rounding_costs_little_besides_the_mean(noise):
    weight, mean = noise(32, 64, 3, 3, scale=0.1), np.abs(noise(32, 64, 3, 3, seed=1)) + 0.1
    rounded = round_keeping_mean(weight, None, mean)
    assert ((rounded - weight) ** 2).sum() < 1.1 * ((nearest(weight) - weight) ** 2).sum()


def test_fp16_numbers_and_zeros_stay(noise):
    exact = nearest(noise(4, 20))
    exact[:, ::3] = 0.0
    np.testing.assert_array_equal(
        round_keeping_mean(exact, noise(4, seed=1) * 100, np.ones((1, 20))), exact
    )
    sparse = noise(4, 20)
    sparse[:, ::3] = 0.0
    assert not round_keeping_mean(sparse, None, np.ones((1, 20)))[:, ::3].any()


def test_means_broadcast_over_the_kernel(noise):
    weight, mean = noise(6, 5, 3, 3), np.abs(noise(1, 5, 1, 1))
    np.testing.assert_array_equal(
        round_keeping_mean(weight, None, mean),
        round_keeping_mean(weight, None, np.broadcast_to(mean, weight.shape)),
    )


def test_nothing_becomes_infinite_at_the_end_of_the_range():
    weight = np.array([[65500.0, 65490.0, -65500.0, 1.0001]], np.float32)
    rounded = round_keeping_mean(weight, np.array([50.3], np.float32), np.ones((1, 4)))
    assert np.isfinite(rounded).all() and is_neighbour(rounded, weight).all()


def test_without_a_mean_it_is_plain_rounding(noise):
    weight = noise(4, 9)
    np.testing.assert_array_equal(
        round_keeping_mean(weight, None, np.zeros((1, 9))), nearest(weight)
    )
