"""The difference between two sets of logits."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log10, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

FP16_LAST_SPACED = 65472.0  # FP16's largest number but one; NumPy gives no spacing at the largest


@dataclass(frozen=True)
class Parity:
    """A candidate against the reference on the same images.

    ``max_abs`` and ``mean_abs`` are in logits; ``relative`` is ``max_abs`` divided by the range of
    the reference's outputs; ``cosine`` is over all logits. ``sqnr`` is the
    signal-to-quantization-noise ratio in dB, 10·log10(Σ reference² / Σ (reference − candidate)²),
    infinite if nothing differs. ``top1`` is the share of images with the same first class, ``top5``
    the share whose reference class is among the candidate's first five. ``ties`` is the number of
    images whose first class changed between two classes that the reference cannot distinguish in
    FP16: its two logits are closer than the spacing of FP16 numbers there. ``nonfinite`` is the
    number of NaN and infinite outputs. If there are any, the other numbers are NaN, and those
    images do not agree. The first class of a single output is that of :func:`of_two_classes`.
    """

    images: int
    max_abs: float
    mean_abs: float
    relative: float
    cosine: float
    sqnr: float
    top1: float
    top5: float
    nonfinite: int
    ties: int = 0

    @property
    def agreeing(self) -> int:
        """The number of images with the same first class."""
        return round(self.images * self.top1)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share of images with the same first class."""
        return wilson(self.agreeing, self.images)

    @property
    def flips(self) -> int:
        """The number of images whose first class changed, without ties."""
        return self.images - self.agreeing - self.ties


def wilson(count: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """The 95 % interval of a counted share (Wilson, "Probable inference", 1927), within 0 … 1."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = count / of, z * z / of
    middle = (share + weight / 2) / (1 + weight)
    reach = z * sqrt(share * (1 - share) / of + weight / (4 * of)) / (1 + weight)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def difference_interval(count: int, of: int, count2: int, of2: int) -> tuple[float, float]:
    """The 95 % interval of the first share less the second, of images counted independently.

    Source: Newcombe, "Interval estimation for the difference between independent proportions",
    Statistics in Medicine 17, 1998, method 10: from Wilson's intervals of the two.
    """
    one, two = count / of, count2 / of2
    (low, high), (low2, high2) = wilson(count, of), wilson(count2, of2)
    down = sqrt((one - low) ** 2 + (high2 - two) ** 2)
    up = sqrt((high - one) ** 2 + (two - low2) ** 2)
    return one - two - down, one - two + up


def compare(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> Parity:
    """Compares logits ``(N, classes)``.

    Raises:
        ValueError: the shapes differ, there is no image, or the reference is not finite.
    """
    if reference.shape != candidate.shape or reference.ndim != 2 or not len(reference):
        raise ValueError(
            f"cannot compare outputs of shapes {reference.shape} and {candidate.shape}"
        )
    if not np.isfinite(reference).all():
        raise ValueError("the reference's own outputs are not finite")
    a, b = reference.astype(np.float64), candidate.astype(np.float64)
    finite = np.isfinite(b)
    nonfinite = int(b.size - finite.sum())
    finite_rows = finite.all(axis=1)
    wanted, found = of_two_classes(a, np.where(finite, b, -np.inf))
    first = wanted.argmax(axis=1)
    best = np.argsort(-found, axis=1, kind="stable")[:, :5]
    top1 = float((finite_rows & (best[:, 0] == first)).mean())
    ties = int((finite_rows & (best[:, 0] != first) & _indistinct(wanted, first, best[:, 0])).sum())
    top5 = float((finite_rows & (best == first[:, None]).any(axis=1)).mean())
    if nonfinite:
        nan = float("nan")
        return Parity(len(a), nan, nan, nan, nan, nan, top1, top5, nonfinite, ties)
    error = np.abs(a - b)
    spread = float(np.ptp(a))
    return Parity(
        images=len(a),
        max_abs=float(error.max()),
        mean_abs=float(error.mean()),
        relative=float(error.max() / spread) if spread else float(error.max() > 0),
        cosine=_cosine(a, b),
        sqnr=sqnr(float((a**2).sum()), float((error**2).sum())),
        top1=top1,
        top5=top5,
        nonfinite=0,
        ties=ties,
    )


def of_two_classes(
    reference: NDArray[Any], candidate: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Outputs of both as :func:`as_classes` gives them. They are probabilities if those of the
    reference are all within 0 … 1.
    """
    probabilities = bool(((reference >= 0) & (reference <= 1)).all())
    return as_classes(reference, probabilities), as_classes(candidate, probabilities)


def as_classes(outputs: NDArray[Any], probabilities: bool) -> NDArray[Any]:
    """A single output ``(N, 1)`` as those of two classes, ``(N, 2)``: the threshold, then the
    output. Outputs ``(N, classes)`` of several classes stay as they are.

    A single output above the threshold means the second class. The threshold is 0.5 for
    probabilities and 0 for logits. An output that is not finite has no class.
    """
    if outputs.shape[1] != 1:
        return outputs
    threshold = np.full_like(outputs, 0.5 if probabilities else 0.0)
    return np.hstack([np.where(np.isfinite(outputs), threshold, outputs), outputs])


def _indistinct(
    logits: NDArray[np.float64], a: NDArray[np.intp], b: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """The rows whose logits of classes ``a`` and ``b`` are closer than the FP16 spacing at the
    larger of the two.
    """
    rows = np.arange(len(logits))
    one, other = logits[rows, a], logits[rows, b]
    magnitude = np.maximum(np.abs(one), np.abs(other)).clip(max=FP16_LAST_SPACED)
    return np.abs(one - other) < np.spacing(magnitude.astype(np.float16)).astype(np.float64)


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / norms if norms else float(np.array_equal(a, b))


def sqnr(signal: float, noise: float) -> float:
    """The signal-to-quantization-noise ratio in dB of two sums of squares: infinite without noise,
    minus infinite without signal.
    """
    if noise == 0:
        return inf
    return 10 * log10(signal / noise) if signal else -inf
