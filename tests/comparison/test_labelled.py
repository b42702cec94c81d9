"""Accuracy and McNemar's test, against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from edgekit.comparison.by_image import by_image, histogram
from edgekit.comparison.labelled import (
    McNemar,
    Share,
    accuracy,
    best_classes,
    compare_labelled,
)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (3, 9), (10, 10), (250, 190), (1200, 1400)])
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    expected = binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert McNemar(b, c).p == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("count", "of"), [(0, 10), (7, 10), (77, 77), (7543, 10000)])
def test_the_interval_of_a_share_is_wilsons(count: int, of: int) -> None:
    expected = binomtest(count, of).proportion_ci(0.95, method="wilson")
    assert Share(count, of).interval == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_top_1_and_top_5_are_counted() -> None:
    scores = np.zeros((4, 8), np.float32)
    for row, order in enumerate(([0, 1, 2, 3, 4, 5], [5, 0], [7, 6, 5, 4, 3, 0], [1, 2])):
        for place, label in enumerate(order):
            scores[row, label] = 10 - place
    found = accuracy(best_classes(scores), [0, 0, 0, 0])
    assert (found.top1.count, found.top5.count, found.top1.of) == (1, 3, 4)


def test_what_is_not_finite_is_never_best() -> None:
    scores = np.array([[np.nan, 1.0, np.inf]], np.float32)
    assert best_classes(scores, 1).tolist() == [[1]]


def test_an_image_without_a_finite_score_is_wrong_whatever_its_class() -> None:
    scores = np.full((2, 3), np.nan, np.float32)
    assert (best_classes(scores) == -1).all()
    assert accuracy(best_classes(scores), [0, 0]).top1.count == 0


def test_confusions_are_the_changes_of_class() -> None:
    a = np.array([[0], [0], [1], [2], [2]])
    b = np.array([[0], [1], [1], [1], [1]])
    found = compare_labelled(a, b, [0, 0, 1, 2, 2])
    assert (found.mcnemar.only_reference, found.mcnemar.only_candidate) == (3, 0)
    assert found.lost == pytest.approx(60)
    most = found.confusions[0]
    assert (most.label, most.reference, most.candidate, most.images) == (2, 2, 1, 2)
    assert most.names is None
    b[1] = -1
    named = compare_labelled(a, b, [0, 0, 1, 2, 2], ["cat", "dog", "fox"])
    assert [each.names for each in named.confusions] == [
        ("fox", "fox", "dog"),
        ("cat", "cat", "none"),
    ]


def test_images_are_listed_worst_first() -> None:
    generator = np.random.default_rng(0)
    reference = generator.normal(size=(5, 10)).astype(np.float32)
    candidate = reference * (1 + np.linspace(0, 0.4, 5, dtype=np.float32)[:, None])
    candidate[2] = np.nan
    found = by_image("abcde", reference, candidate)
    assert [each.image for each in found] == ["c", "e", "d", "b", "a"]
    assert found[0].sqnr == float("-inf") and found[-1].sqnr == float("inf")
    counted = histogram(found)
    assert sum(counted.counts) == 5 and len(counted.edges) == len(counted.counts) + 1
