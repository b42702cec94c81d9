"""Statistics of latencies. All times are in milliseconds.

Median and percentiles follow trtexec (NVIDIA/TensorRT, ``samples/common/sampleReporting.cpp``), so
that numbers can be compared with those of trtexec: a percentile is a measured latency, never an
interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95

Block = Sequence[float]


@dataclass(frozen=True)
class Summary:
    """``cv`` is the coefficient of variation (standard deviation / mean), ``count`` the number of
    runs.
    """

    median: float
    p90: float
    p99: float
    mean: float
    cv: float
    count: int


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


def percentile(samples: Sequence[float], percent: int) -> float:
    """The largest sample without the slowest ``int((100 - percent) · n / 100)`` samples.

    trtexec computes this in single precision, so its result may be one sample higher if ``(100 -
    percent) · n`` is a multiple of 100.

    Raises:
        ValueError: if there is no sample, or ``percent`` is not within 0 … 100.
    """
    if not 0 <= percent <= 100:
        raise ValueError(f"percent must be within 0 … 100, not {percent}")
    ordered = sorted(samples)
    if not ordered:
        raise ValueError("no samples")
    excluded = (100 - percent) * len(ordered) // 100
    return float(ordered[max(len(ordered) - 1 - excluded, 0)])


def summarize(samples: Sequence[float]) -> Summary:
    """Summarize latencies; the standard deviation in ``cv`` is the population's, as in trtexec.

    Raises:
        ValueError: if there is no sample.
    """
    p90, p99 = percentile(samples, 90), percentile(samples, 99)
    mean = float(np.mean(samples))
    cv = float(np.std(samples)) / mean if mean > 0 else float("inf")
    return Summary(float(np.median(samples)), p90, p99, mean, cv, len(samples))


def ratio_by_block(a_blocks: Sequence[Block], b_blocks: Sequence[Block], *, seed: int = 0) -> Ratio:
    """Compares ``a`` with ``b``, measured in turns. ``a_blocks[i]`` and ``b_blocks[i]`` hold the
    samples of one turn.

    Each turn gives one ratio: the median of a divided by the median of b. So a temporary slowdown
    of the machine affects both. The value is the median of the ratios. The interval is a bootstrap
    of the median: turns are drawn with replacement 10,000 times. Turns are resampled and not runs,
    because runs of one turn are not independent. With five turns the interval is from the smallest
    ratio to the largest: it covers the true median in 94 % of cases, and "faster" means faster in
    every turn.

    Raises:
        ValueError: if there are fewer than two turns, their numbers differ, or one is empty.
    """
    if len(a_blocks) != len(b_blocks) or len(a_blocks) < 2:
        raise ValueError(f"need two or more blocks each, got {len(a_blocks)} and {len(b_blocks)}")
    if not all(map(len, (*a_blocks, *b_blocks))):
        raise ValueError("empty block")
    ratios = np.array(
        [np.median(a) / np.median(b) for a, b in zip(a_blocks, b_blocks, strict=True)]
    )
    drawn = np.random.default_rng(seed).integers(len(ratios), size=(RESAMPLES, len(ratios)))
    medians = np.median(ratios[drawn], axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return Ratio(float(np.median(ratios)), float(low), float(high))
