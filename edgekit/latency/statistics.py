"""Statistics of latencies. All times are in milliseconds.

Median and percentiles follow trtexec (NVIDIA/TensorRT, ``samples/common/sampleReporting.cpp``), so
that numbers can be compared with those of trtexec: a percentile is a measured latency, never an
interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
EARLY_STOPPING_CONFIDENCE = 0.99
# Two sessions of one graph in one process differ steadily, by where their memory lies: up to 1.7 %
# in ten processes of lenet5 with ONNX Runtime. No interval of one process contains that.
SESSIONS = 0.02

Block = Sequence[float]


@dataclass(frozen=True)
class Summary:
    """``cv`` is the coefficient of variation (standard deviation / mean), ``count`` the number of
    runs. ``p90_bound`` and ``p99_bound`` are :func:`percentile_bound`, None with too few runs.
    """

    median: float
    p90: float
    p99: float
    mean: float
    cv: float
    count: int
    p90_bound: float | None = None
    p99_bound: float | None = None


@dataclass(frozen=True)
class Ratio:
    """The latency of one candidate as a fraction of another's; below 1 is faster. ``low`` to
    ``high`` is its 95 % confidence interval.
    """

    value: float
    low: float
    high: float

    @property
    def faster(self) -> bool:
        """Whether the measurement shows a lower latency: the whole interval lies below 1."""
        return self.high < 1

    @property
    def slower(self) -> bool:
        """Whether the measurement shows a higher latency: the whole interval lies above 1."""
        return self.low > 1

    def beyond(self, tolerance: float) -> bool:
        """Whether the whole interval is beyond a tolerance, to either side."""
        return self.low > 1 + tolerance or self.high * (1 + tolerance) < 1


def percentile(samples: Sequence[float], percent: int) -> float:
    """The largest sample without the slowest ``int((100 - percent) · n / 100)`` samples.

    trtexec computes this in single precision, so its result may be one sample higher if ``(100 -
    percent) · n`` is a multiple of 100.

    Raises:
        ValueError: if there is no sample, or ``percent`` is not within 0 … 100.
    """
    if not 0 <= percent <= 100:
        raise ValueError(f"percent must be within 0 … 100, not {percent}")
    ordered = np.sort(np.asarray(samples))
    if not len(ordered):
        raise ValueError("no samples")
    excluded = (100 - percent) * len(ordered) // 100
    return float(ordered[max(len(ordered) - 1 - excluded, 0)])


def percentile_bound(samples: Sequence[float], percent: int) -> float | None:
    """A latency that the percentile does not exceed, with 99 % confidence, if the runs are
    independent: MLPerf's early-stopping estimate, which leaves out as many of the slowest runs as
    the number of runs allows. None with fewer runs than it needs: 64 for 90, 662 for 99.

    Source: MLPerf Inference Rules, appendix "Early Stopping Criterion"; LoadGen's ``results.cc``.
    """
    count = len(samples)
    over = _most_over(count, percent)
    return float(np.sort(samples)[count - over]) if over >= 1 else None


@cache
def _most_over(count: int, percent: int) -> int:
    """How many of ``count`` runs may be above a bound that has 99 % confidence."""
    share = 1 - percent / 100
    odds = 0.0
    for over in range(count + 1):
        ways = math.lgamma(count + 1) - math.lgamma(over + 1) - math.lgamma(count - over + 1)
        odds += math.exp(ways + over * math.log(share) + (count - over) * math.log1p(-share))
        if odds >= 1 - EARLY_STOPPING_CONFIDENCE:
            return over - 1
    return count


def summarize(samples: Sequence[float]) -> Summary:
    """Summarize latencies; the standard deviation in ``cv`` is the population's, as in trtexec.

    Raises:
        ValueError: if there is no sample.
    """
    p90, p99 = percentile(samples, 90), percentile(samples, 99)
    mean = float(np.mean(samples))
    cv = float(np.std(samples)) / mean if mean > 0 else float("inf")
    bounds = (percentile_bound(samples, percent) for percent in (90, 99))
    return Summary(float(np.median(samples)), p90, p99, mean, cv, len(samples), *bounds)


def ratio_of_turns(a: Sequence[float], b: Sequence[float]) -> Ratio:
    """Compares ``a`` with ``b``, measured in turns. ``a[i]`` and ``b[i]`` are the typical latencies
    of block i.

    Each block gives one ratio, so that a temporary slowdown of the machine affects both sides of
    it. Blocks are the units and not runs, because runs of one block are not independent. The value
    is the Hodges-Lehmann estimate: the median of the means of all pairs of log ratios. The interval
    is exact, of Wilcoxon's signed-rank test: it contains the true ratio in at least 95 % of cases,
    for every symmetric distribution of the log ratios. With five blocks it is from the smallest
    ratio to the largest, and contains it in 94 %. A percentile bootstrap of the median contains it
    less often (``benchmarks/coverage.py``).

    Source: Hollander, Wolfe, Chicken, Nonparametric Statistical Methods, 3rd edition, 3.1 to 3.3.

    Raises:
        ValueError: if there are fewer than two blocks, or their numbers differ.
    """
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"need two or more blocks each, got {len(a)} and {len(b)}")
    logs = np.log(a) - np.log(b)
    first, second = np.triu_indices(len(logs))
    return _ratio((logs[first] + logs[second]) / 2, _signed_rank_steps(len(logs)))


def ratio_of_runs(now: Sequence[float], before: Sequence[float]) -> Ratio:
    """Compares two measurements that were made at different times, by the medians of their blocks.

    The value is the Hodges-Lehmann estimate: the median of all ratios of a block of ``now`` to a
    block of ``before``. The interval is exact, of the rank-sum test. It contains the variation
    between the blocks of a measurement, but not the differences between two measurements.

    Source: Hollander, Wolfe, Chicken, Nonparametric Statistical Methods, 3rd edition, 4.1 to 4.3.

    Raises:
        ValueError: if one has fewer than two blocks, or a median is not positive.
    """
    if min(len(now), len(before)) < 2:
        raise ValueError(f"need two or more blocks each, got {len(now)} and {len(before)}")
    if min(*now, *before) <= 0:
        raise ValueError("latencies must be positive")
    logs = np.subtract.outer(np.log(now), np.log(before))
    return _ratio(logs.ravel(), _rank_sum_steps(len(now), len(before)))


def block_medians(blocks: Sequence[Block]) -> tuple[float, ...]:
    """
    Raises:
        ValueError: if a block is empty.
    """
    if not all(map(len, blocks)):
        raise ValueError("empty block")
    return tuple(float(np.median(block)) for block in blocks)


def _ratio(logs: NDArray[np.float64], steps: int) -> Ratio:
    ordered = np.sort(logs)
    low, high = np.exp(ordered[steps]), np.exp(ordered[-1 - steps])
    return Ratio(float(np.exp(np.median(ordered))), float(low), float(high))


@cache
def _signed_rank_steps(count: int) -> int:
    """The number of sorted means of pairs outside of the interval at each end."""
    ways = np.ones(1)
    for rank in range(1, count + 1):
        ways = np.convolve(ways, np.bincount([0, rank]))
    return _steps(ways)


@cache
def _rank_sum_steps(a: int, b: int) -> int:
    """The number of sorted ratios outside of the interval at each end."""
    # ways[j][u]: choices of j of the blocks seen so far with rank-sum statistic u
    ways = [np.ones(1), *(np.zeros(1) for _ in range(a))]
    for seen in range(1, a + b + 1):
        for j in range(min(a, seen), 0, -1):
            shifted = np.concatenate([np.zeros(seen - j), ways[j - 1]])
            size = max(len(shifted), len(ways[j]))
            ways[j] = np.pad(ways[j], (0, size - len(ways[j]))) + np.pad(
                shifted, (0, size - len(shifted))
            )
    return _steps(ways[a])


def _steps(ways: NDArray[np.float64]) -> int:
    """The largest number with 95 % inside; ``ways`` counts outcomes of a symmetric statistic."""
    tail = np.cumsum(ways) / ways.sum()
    return max(0, int(np.searchsorted(tail, (1 - CONFIDENCE) / 2, side="right")) - 1)
