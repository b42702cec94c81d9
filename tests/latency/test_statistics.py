"""Latency statistics against values worked by hand and against numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgekit.latency.statistics import Ratio, percentile, ratio_by_block, summarize


@pytest.mark.parametrize(
    ("count", "percent", "expected"),
    [
        # Of 1 … n, excluding int((100 - p) n / 100) of the slowest.
        (10, 90, 9),
        (10, 99, 10),
        (19, 90, 18),
        (20, 90, 18),
        (100, 99, 99),
        (199, 99, 198),
        (200, 99, 198),
        (1, 99, 1),
        (7, 100, 7),
        (7, 0, 1),
    ],
)
def test_percentile_excludes_the_slowest(count, percent, expected):
    samples = np.random.default_rng(0).permutation(np.arange(1, count + 1))
    assert percentile(samples, percent) == expected


def test_percentile_was_measured_and_numpy_agrees():
    samples = np.random.default_rng(1).gamma(9, 0.3, size=737)
    for percent in (50, 90, 95, 99):
        found = percentile(samples, percent)
        assert found in samples
        assert found == np.quantile(samples, percent / 100, method="inverted_cdf")


@pytest.mark.parametrize("percent", [-1, 101])
def test_percentile_out_of_range(percent):
    with pytest.raises(ValueError, match="within 0 … 100"):
        percentile([1.0], percent)


def test_summary_by_hand():
    summary = summarize([2, 4, 4, 4, 5, 5, 7, 9])
    assert summary.mean == 5
    assert summary.cv == 2 / 5  # the population's standard deviation of this textbook list is 2
    assert summary.median == 4.5
    assert (summary.p90, summary.p99) == (9, 9)
    assert summary.count == 8


def test_summary_of_nothing():
    with pytest.raises(ValueError, match="no samples"):
        summarize([])


def test_ratio_with_five_blocks_spans_all_of_them():
    a, b = [[2.0], [2.2], [1.9], [2.1], [2.0]], [[4.0]] * 5
    ratio = ratio_by_block(a, b)
    # The median of the 15 means of pairs of log ratios is that of 0.475 and 0.55.
    assert ratio == Ratio(
        pytest.approx((0.475 * 0.55) ** 0.5, abs=0.006), pytest.approx(0.475), pytest.approx(0.55)
    )
    assert ratio.faster
    assert not ratio.slower
    assert ratio.inverse == Ratio(
        pytest.approx(2, abs=0.05), pytest.approx(1 / 0.55), pytest.approx(1 / 0.475)
    )


def test_ratio_takes_each_block_by_its_median():
    a, b = [[1, 1, 1, 500], [2, 2, 2, 2], [1, 1, 1, 1]], [[2, 2], [4, 4], [2, 2]]
    assert ratio_by_block(a, b) == Ratio(0.5, 0.5, 0.5)


def test_one_block_of_five_against_it_is_not_faster():
    a = [[0.9], [0.9], [0.9], [0.9], [1.1]]
    ratio = ratio_by_block(a, [[1.0]] * 5)
    assert ratio.value == pytest.approx(0.9)
    assert not ratio.faster
    assert not ratio.slower


def test_ratio_cancels_what_slows_both():
    load = [1, 3, 1, 5, 2, 1]
    a, b = [[2.0 * slow] for slow in load], [[1.0 * slow] for slow in load]
    ratio = ratio_by_block(a, b)
    assert ratio == Ratio(*[pytest.approx(2)] * 3)
    assert ratio.slower


def test_ratio_interval_covers_the_truth_and_is_repeatable():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(60):
        truth = 0.8
        blocks = truth * np.exp(rng.standard_t(4, size=10) * 0.02)
        ratio = ratio_by_block(blocks[:, None].tolist(), [[1.0]] * 10)
        covered += ratio.low <= truth <= ratio.high
    assert covered >= 52  # 94 % is expected of ten blocks
    assert ratio_by_block(blocks[:, None].tolist(), [[1.0]] * 10) == ratio


@pytest.mark.parametrize(
    ("a", "b"), [([[1.0]], [[1.0]]), ([[1.0]] * 2, [[1.0]] * 3), ([[1.0], []], [[1.0]] * 2)]
)
def test_ratio_refuses_what_it_cannot_pair(a, b):
    with pytest.raises(ValueError, match="block"):
        ratio_by_block(a, b)


def test_a_mean_of_zero_has_no_cv():
    assert summarize([0.0, 0.0]).cv == math.inf
