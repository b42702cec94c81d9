"""Accuracy on images with known classes: counts, intervals, and a paired test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.comparison.metrics import wilson

Classes = NDArray[np.int64]
LISTED = 20


@dataclass(frozen=True)
class Share:
    """``count`` of ``of`` images, with the 95 % interval of their share (Wilson)."""

    count: int
    of: int

    @property
    def value(self) -> float:
        return self.count / self.of

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.count, self.of)


@dataclass(frozen=True)
class Accuracy:
    """The images whose class is a network's first class (top-1) or among its first five (top-5)."""

    top1: Share
    top5: Share


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test of two networks on the same images.

    ``only_reference`` is the number of images that only the reference classifies correctly,
    ``only_candidate`` those that only the candidate does. ``p`` is the two-sided probability of a
    difference at least as large if both networks were equally good.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12, 1947; the exact binomial form.
    """

    only_reference: int
    only_candidate: int

    @property
    def p(self) -> float:
        n, least = self.discordant, min(self.only_reference, self.only_candidate)
        tail = ways = 1  # of n over 0
        for k in range(1, least + 1):
            ways = ways * (n - k + 1) // k
            tail += ways
        return float(min(1.0, 2 * tail / 2**n))

    @property
    def discordant(self) -> int:
        return self.only_reference + self.only_candidate


@dataclass(frozen=True)
class Confusion:
    """``images`` of class ``label`` that the reference classifies as ``reference`` and the
    candidate as ``candidate``; all three are class numbers. ``names`` are those of the three, None
    if the classes have no names.
    """

    label: int
    reference: int
    candidate: int
    images: int
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Labelled:
    """Two networks compared with the true classes. ``lost`` is the candidate's loss of top-1
    accuracy in percentage points; ``confusions`` are the most frequent changes of class, at most
    20.
    """

    reference: Accuracy
    candidate: Accuracy
    mcnemar: McNemar
    confusions: tuple[Confusion, ...]

    @property
    def lost(self) -> float:
        return 100 * (self.reference.top1.value - self.candidate.top1.value)


def best_classes(scores: NDArray[Any], count: int = 5) -> Classes:
    """The ``count`` best classes of each row of scores ``(N, classes)``, best first.

    If scores are equal, the lower class number comes first. -1, which is no class, replaces the
    class of a score that is not finite.
    """
    finite = np.where(np.isfinite(scores), scores, -np.inf)
    best = np.argsort(-finite, axis=1, kind="stable")[:, :count].astype(np.int64)
    return np.where(np.isfinite(np.take_along_axis(finite, best, axis=1)), best, -1)


def class_names(classes: Sequence[str] | None, numbers: Iterable[int]) -> tuple[str, ...] | None:
    """The names of class numbers; ``none`` for -1, which is no class. None without names."""
    if classes is None:
        return None
    return tuple("none" if number < 0 else classes[number] for number in numbers)


def accuracy(best: Classes, labels: Sequence[int] | Classes) -> Accuracy:
    """Counts the correct images.

    Args:
        best: the best classes of each image, best first ``(N, 5)``, as :func:`best_classes` gives.
        labels: the class of each image ``(N,)``.
    """
    hits = best == np.asarray(labels)[:, None]
    of = len(hits)
    return Accuracy(Share(int(hits[:, 0].sum()), of), Share(int(hits.any(axis=1).sum()), of))


def compare_labelled(
    reference: Classes,
    candidate: Classes,
    labels: Sequence[int] | Classes,
    names: Sequence[str] | None = None,
) -> Labelled:
    """Compares two networks' best classes ``(N, 5)`` of the same images with the true classes
    ``(N,)``. ``names`` are those of all classes, in the order of their numbers.
    """
    truth = np.asarray(labels)
    a, b = reference[:, 0], candidate[:, 0]
    test = McNemar(
        int(((a == truth) & (b != truth)).sum()), int(((a != truth) & (b == truth)).sum())
    )
    changed = Counter(
        (int(t), int(x), int(y)) for t, x, y in zip(truth, a, b, strict=True) if x != y
    )
    listed = sorted(changed.items(), key=lambda entry: (-entry[1], entry[0]))[:LISTED]
    return Labelled(
        accuracy(reference, truth),
        accuracy(candidate, truth),
        test,
        tuple(
            Confusion(*classes, images, class_names(names, classes)) for classes, images in listed
        ),
    )
