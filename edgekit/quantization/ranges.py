"""The calibrators: each computes the range of a grid from the histogram of a value.

Sources: Wu et al., "Integer Quantization for Deep Learning Inference", arXiv:2004.09602, Section 4
(max, percentile, entropy and how they compare); Migacz, "8-bit Inference with TensorRT", GTC 2017
(entropy).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edgekit.quantization.statistics import BINS, ValueStatistics

Calibrator = Callable[[ValueStatistics, int], float]
"""Called with the statistics and the number of levels above zero; returns the largest magnitude."""

_CANDIDATES = 96


def maximum(value: ValueStatistics, levels: int) -> float:
    """The largest observed magnitude."""
    return value.largest


def percentile(value: ValueStatistics, levels: int, percent: float) -> float:
    """The magnitude that ``percent`` % of the numbers do not exceed."""
    cumulative = np.cumsum(value.counts)
    reached = int(np.searchsorted(cumulative, percent / 100 * cumulative[-1]))
    return float(min((reached + 1) * value.width / BINS, value.largest))


def mse(value: ValueStatistics, levels: int) -> float:
    """The range with the least expected squared error of rounding and clipping."""
    centers, weights = _mass(value)
    best, least = value.largest, np.inf
    for limit in _limits(value):
        step = limit / levels
        rounded = np.minimum(np.rint(centers / step), levels) * step
        # Numbers are spread over the width of a bin, so the error cannot be less than the uniform
        # noise of a step.
        error = float(
            (
                weights
                * np.maximum(
                    (rounded - centers) ** 2, np.where(centers <= limit, step**2 / 12, 0.0)
                )
            ).sum()
        )
        if error < least:
            best, least = limit, error
    return float(best)


def entropy(value: ValueStatistics, levels: int) -> float:
    """The range with the least Kullback-Leibler divergence between the clipped and the rounded
    distribution, without zeros.
    """
    counts = value.counts.astype(np.float64)
    counts[0] = 0
    used = int(np.ceil(value.largest / value.width * BINS))
    best, least = value.largest, np.inf
    for last in (
        np.unique(np.linspace(levels, used, _CANDIDATES).astype(int)) if used > levels else ()
    ):
        reference = counts[:last].copy()
        reference[-1] += counts[last:].sum()
        divergence = _divergence(reference, _rounded(counts[:last], levels))
        if divergence < least:
            best, least = last * value.width / BINS, divergence
    return float(min(best, value.largest))


CALIBRATORS: Mapping[str, Calibrator] = MappingProxyType(
    {
        "max": maximum,
        "percentile-99.9": partial(percentile, percent=99.9),
        "percentile-99.99": partial(percentile, percent=99.99),
        "percentile-99.999": partial(percentile, percent=99.999),
        "percentile-99.9999": partial(percentile, percent=99.9999),
        "entropy": entropy,
        "mse": mse,
    }
)


def _mass(value: ValueStatistics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The centers of the occupied bins, and the share of numbers in each."""
    occupied = np.flatnonzero(value.counts)
    weights = value.counts[occupied] / value.counts.sum()
    return (occupied + 0.5) * value.width / BINS, weights


def _limits(value: ValueStatistics) -> NDArray[np.float64]:
    return np.geomspace(value.largest / 64, value.largest, _CANDIDATES)


def _rounded(counts: NDArray[np.float64], levels: int) -> NDArray[np.float64]:
    """The histogram after rounding to ``levels``. The count of each level is spread evenly over its
    occupied bins.
    """
    edges = np.linspace(0, len(counts), levels + 1).astype(int)
    occupied = (counts > 0).astype(np.float64)
    sums, bins = np.add.reduceat(counts, edges[:-1]), np.add.reduceat(occupied, edges[:-1])
    means = np.divide(sums, bins, out=np.zeros_like(sums), where=bins > 0)
    return np.asarray(np.repeat(means, np.diff(edges)) * occupied)


def _divergence(reference: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    p, q = reference / max(reference.sum(), 1e-12), other / max(other.sum(), 1e-12)
    inside = p > 0
    return float((p[inside] * np.log(p[inside] / np.maximum(q[inside], 1e-12))).sum())
