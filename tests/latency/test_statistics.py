"""Latency statistics against values worked by hand and against numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from edgekit.latency.statistics import (
    Ratio,
    block_medians,
    percentile,
    percentile_bound,
    ratio_of_runs,
    ratio_of_turns,
    summarize,
)


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
    ratio = ratio_of_turns([2.0, 2.2, 1.9, 2.1, 2.0], [4.0] * 5)
    # The median of the 15 means of pairs of log ratios is that of 0.475 and 0.55.
    assert ratio == Ratio(
        pytest.approx((0.475 * 0.55) ** 0.5, abs=0.006), pytest.approx(0.475), pytest.approx(0.55)
    )
    assert ratio.faster
    assert not ratio.slower


def test_each_block_counts_by_its_median():
    assert block_medians([[1, 1, 1, 500], [2, 2, 4, 4], [1]]) == (1, 3, 1)
    with pytest.raises(ValueError, match="empty block"):
        block_medians([[1.0], []])


def test_one_block_of_five_against_it_is_not_faster():
    ratio = ratio_of_turns([0.9, 0.9, 0.9, 0.9, 1.1], [1.0] * 5)
    assert ratio.value == pytest.approx(0.9)
    assert not ratio.faster
    assert not ratio.slower


def test_ratio_cancels_what_slows_both():
    load = [1, 3, 1, 5, 2, 1]
    ratio = ratio_of_turns([2.0 * slow for slow in load], load)
    assert ratio == Ratio(*[pytest.approx(2)] * 3)
    assert ratio.slower


def test_ratio_interval_covers_the_truth_and_is_repeatable():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(60):
        truth = 0.8
        blocks = truth * np.exp(rng.standard_t(4, size=10) * 0.02)
        ratio = ratio_of_turns(blocks.tolist(), [1.0] * 10)
        covered += ratio.low <= truth <= ratio.high
    assert covered >= 52  # 95 % is expected
    assert ratio_of_turns(blocks.tolist(), [1.0] * 10) == ratio


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0]), ([1.0] * 2, [1.0] * 3)])
def test_ratio_refuses_what_it_cannot_pair(a, b):
    with pytest.raises(ValueError, match="block"):
        ratio_of_turns(a, b)


def test_a_mean_of_zero_has_no_cv():
    assert summarize([0.0, 0.0]).cv == math.inf


# ---- intervals against SciPy's tests, of which they are the inverse


@pytest.mark.parametrize("count", [6, 7, 10, 15, 20])
def test_the_interval_of_turns_is_what_the_signed_rank_test_does_not_refuse(count):
    logs = np.random.default_rng(count).normal(0.1, 0.05, count)
    ratio = ratio_of_turns(np.exp(logs), np.ones(count))

    def p(value: float) -> float:
        return scipy.stats.wilcoxon(logs - math.log(value), method="exact").pvalue

    for inside, outside in ((1.0001, 0.9999), (0.9999, 1.0001)):
        end = ratio.low if inside > 1 else ratio.high
        assert p(end * inside) > 0.05 >= p(end * outside)
    assert ratio.low < ratio.value < ratio.high


@pytest.mark.parametrize(("now", "before"), [(4, 4), (5, 5), (10, 10), (10, 5), (6, 14)])
def test_the_interval_of_runs_is_what_the_rank_sum_test_does_not_refuse(now, before):
    rng = np.random.default_rng(now * before)
    a, b = rng.lognormal(0.2, 0.1, now), rng.lognormal(0, 0.1, before)
    ratio = ratio_of_runs(a, b)

    def p(value: float) -> float:
        return scipy.stats.mannwhitneyu(a / value, b, method="exact").pvalue

    for inside, outside in ((1.0001, 0.9999), (0.9999, 1.0001)):
        end = ratio.low if inside > 1 else ratio.high
        assert p(end * inside) > 0.05 >= p(end * outside)
    assert ratio.value == pytest.approx(np.median(np.divide.outer(a, b)), rel=0.01)


def test_runs_that_cannot_be_compared():
    with pytest.raises(ValueError, match="two or more blocks"):
        ratio_of_runs([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="positive"):
        ratio_of_runs([1.0, 0.0], [1.0, 2.0])


NOISES = {
    "lognormal": lambda rng: rng.normal(size=10),
    "heavy tails": lambda rng: rng.standard_t(3, size=10),
    "two-sided bursts": lambda rng: rng.exponential(size=10) - rng.exponential(size=10),
    "outliers": lambda rng: rng.normal(size=10) + (rng.random(10) < 0.1) * rng.choice([-9, 9], 10),
}


@pytest.mark.parametrize("noise", NOISES)
def test_the_interval_covers_the_truth_in_93_to_97_percent(noise):
    rng = np.random.default_rng(12)
    ratios = [
        ratio_of_turns(0.8 * np.exp(0.02 * NOISES[noise](rng)), [1.0] * 10) for _ in range(1000)
    ]
    assert 930 <= sum(ratio.low <= 0.8 <= ratio.high for ratio in ratios) <= 970


def test_the_interval_of_two_runs_covers_the_truth_in_93_to_97_percent():
    rng = np.random.default_rng(13)
    runs = [(1.1 * rng.lognormal(0, 0.02, 10), rng.lognormal(0, 0.02, 10)) for _ in range(1000)]
    ratios = [ratio_of_runs(now, before) for now, before in runs]
    assert 930 <= sum(ratio.low <= 1.1 <= ratio.high for ratio in ratios) <= 970


# ---- MLPerf's bound


@pytest.mark.parametrize(("percent", "least"), [(90, 64), (99, 662)])
def test_the_bound_needs_as_many_runs_as_mlperf_s(percent, least):
    samples = np.random.default_rng(3).permutation(np.arange(1.0, least + 1))
    assert percentile_bound(samples[: least - 1], percent) is None
    assert percentile_bound(samples, percent) == least


@pytest.mark.parametrize("count", [64, 100, 999, 5000])
def test_the_bound_leaves_out_as_many_as_the_binomial_allows(count):
    bound = percentile_bound(np.arange(count), 90)
    over = count - bound  # so many samples are at the bound or above
    assert scipy.stats.binom.cdf(over, count, 0.1) < 0.01
    assert scipy.stats.binom.cdf(over + 1, count, 0.1) >= 0.01


def test_the_bound_is_rarely_below_the_percentile():
    rng = np.random.default_rng(4)
    truth = math.exp(1.2815515655446004)  # the 90th percentile of a standard lognormal
    bounds = [percentile_bound(rng.lognormal(size=500), 90) for _ in range(1000)]
    assert sum(bound < truth for bound in bounds) <= 20  # 1 % is promised


def test_a_summary_has_the_bounds():
    summary = summarize(np.arange(1.0, 101))
    assert (summary.p90_bound, summary.p99_bound) == (
        percentile_bound(np.arange(1.0, 101), 90),
        None,
    )
    assert summary.p90 <= summary.p90_bound
