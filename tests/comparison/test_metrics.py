"""Parity numbers against known answers, NumPy by hand and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from edgekit.comparison import Parity, compare
from edgekit.comparison.by_image import by_image
from edgekit.comparison.metrics import wilson
from edgekit.quantization.twin import fidelity


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_equal_outputs():
    logits = normal(7, 10)
    parity = compare(logits, logits.copy())
    assert parity == Parity(7, 0.0, 0.0, 0.0, pytest.approx(1.0), float("inf"), 1.0, 1.0, 0, 0)
    assert (parity.agreeing, parity.flips) == (7, 0)


def test_a_known_answer():
    reference = np.array([[3.0, 0.0, 4.0], [0.0, 1.0, 0.0]], np.float32)
    candidate = np.array([[3.0, 0.0, 4.5], [0.0, 1.0, 1.5]], np.float32)
    parity = compare(reference, candidate)
    assert (
        parity.max_abs == 1.5
        and parity.mean_abs == pytest.approx(2.0 / 6)
        and parity.relative == pytest.approx(1.5 / 4)
    )
    assert parity.sqnr == pytest.approx(10 * np.log10(26 / 2.5))
    assert parity.cosine == pytest.approx((9 + 18 + 1) / np.sqrt(26 * (9 + 20.25 + 1 + 2.25)))
    assert (parity.top1, parity.top5, parity.flips, parity.ties) == (0.5, 1.0, 1, 0)


@pytest.mark.parametrize("scale", [0.01, 0.3, 3.0])
def test_agreement_is_scikit_learns(scale):
    reference = normal(200, 30)
    candidate = reference + scale * normal(200, 30, seed=1)
    parity, first = compare(reference, candidate), reference.argmax(axis=1)
    for k, found in ((1, parity.top1), (5, parity.top5)):
        assert found == pytest.approx(
            top_k_accuracy_score(first, candidate, k=k, labels=np.arange(30))
        )
    assert parity.agreeing + parity.flips + parity.ties == 200


def test_fewer_than_five_classes():
    parity = compare(
        np.array([[1.0, 0.0, -1.0]], np.float32), np.array([[-1.0, 0.0, 1.0]], np.float32)
    )
    assert (parity.top1, parity.top5) == (0.0, 1.0)


@pytest.mark.parametrize("probabilities", [False, True])
def test_a_single_output_decides_by_its_threshold(probabilities):
    logits = normal(200, 1)
    noisy = logits + normal(200, 1, seed=1)
    threshold = 0.5 if probabilities else 0.0
    a, b = (1 / (1 + np.exp(-x)) if probabilities else x for x in (logits, noisy))
    expected = accuracy_score(a[:, 0] > threshold, b[:, 0] > threshold)
    parity = compare(a, b)
    assert 0.6 < expected < 0.9
    assert parity.top1 == fidelity(a, b).agreement == pytest.approx(expected)
    assert parity.top5 == 1.0
    assert parity.sqnr == pytest.approx(
        10 * np.log10((a**2).sum() / ((a - b) ** 2).sum()), rel=1e-4
    )
    images = by_image([str(i) for i in range(200)], a, b, ["no", "yes"])
    assert sum(image.flipped for image in images) == round(200 * (1 - expected))
    assert {image.reference for image in images} == {0, 1}
    assert images[0].margin == pytest.approx(abs(a[int(images[0].image), 0] - threshold), abs=1e-6)


def test_a_single_output_that_is_not_finite_never_agrees():
    reference, candidate = (
        np.array([[1.0], [-1.0]], np.float32),
        np.full((2, 1), np.nan, np.float32),
    )
    assert compare(reference, candidate).top1 == 0.0
    assert {image.candidate for image in by_image(["a", "b"], reference, candidate)} == {-1}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_counted_and_never_agrees(bad):
    reference = normal(4, 10)
    candidate = reference.copy()
    candidate[1, 3] = bad
    parity = compare(reference, candidate)
    assert (
        parity.nonfinite == 1
        and parity.top1 == 0.75
        and parity.top5 == 0.75
        and parity.ties == 0
        and parity.flips == 1
    )
    assert all(
        np.isnan(v)
        for v in (parity.max_abs, parity.mean_abs, parity.relative, parity.cosine, parity.sqnr)
    )


def test_reference_of_zeros():
    zeros, ones = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    same = compare(zeros, zeros)
    assert (same.relative, same.cosine, same.sqnr) == (0.0, 1.0, float("inf"))
    other = compare(zeros, ones)
    assert (other.relative, other.cosine, other.sqnr) == (1.0, 0.0, float("-inf"))


@pytest.mark.parametrize(
    ("a", "b"),
    [((2, 3), (2, 4)), ((2, 3), (3, 3)), ((0, 3), (0, 3)), ((2, 3, 1), (2, 3, 1)), ((3,), (3,))],
)
def test_shapes_that_cannot_be_compared(a, b):
    with pytest.raises(ValueError, match="cannot compare"):
        compare(np.zeros(a, np.float32), np.zeros(b, np.float32))


def test_a_reference_that_is_not_finite():
    with pytest.raises(ValueError, match="reference's own outputs"):
        compare(np.array([[np.nan, 1.0]], np.float32), np.zeros((1, 2), np.float32))


def test_the_numbers_are_taken_in_float64():
    reference = np.full((1, 4), 1e30, np.float32)
    assert compare(reference, reference * np.float32(1 + 1e-6)).sqnr == pytest.approx(120, abs=1)


# ---- ties


def swap(first, second, others=-5.0):
    """One image whose two best classes change places."""
    return np.array([[first, second, others]], np.float32), np.array(
        [[second, first, others]], np.float32
    )


@pytest.mark.parametrize(
    ("magnitude", "spacing"),
    [(0.7, 2**-11), (1.5, 2**-10), (10.0, 2**-7), (-3.0, 2**-9), (1e5, 32.0)],
    ids=["0.7", "1.5", "10", "-3", "beyond"],
)
def test_a_tie_is_closer_than_fp16s_spacing(magnitude, spacing):
    for gap, ties in ((0.9 * spacing, 1), (1.1 * spacing, 0)):
        parity = compare(*swap(magnitude + gap, magnitude, magnitude - 100))
        assert (parity.ties, parity.flips, parity.top1) == (ties, 1 - ties, 0.0)


def test_the_spacing_is_the_larger_logits():
    assert compare(*swap(1.0, 1.0 - 0.9 * 2**-10)).ties == 1
    assert np.spacing(np.float16(0.999)) < 0.9 * 2**-10


def test_the_reference_decides_what_is_a_tie():
    reference = np.array([[2.0, 1.0, 0.0]], np.float32)
    candidate = np.array([[1.5, 1.5 + 2**-12, 0.0]], np.float32)
    assert compare(reference, candidate).ties == 0
    assert compare(candidate, reference).ties == 1


def test_a_tie_is_decided_by_the_two_classes_that_changed():
    reference = np.array([[2.0 + 2**-12, 2.0, 1.0]], np.float32)
    assert compare(reference, np.array([[0.0, 1.0, 2.0]], np.float32)).ties == 0


def test_an_image_that_agrees_is_not_a_tie():
    reference = np.array([[2.0 + 2**-12, 2.0, 1.0]], np.float32)
    assert compare(reference, reference).ties == 0


@pytest.mark.parametrize(("count", "of"), [(0, 5), (1, 1), (26, 27), (27, 27), (940, 1000)])
def test_the_interval_is_scipys(count, of):
    expected = binomtest(count, of).proportion_ci(0.95, "wilson")
    assert wilson(count, of) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_of_an_agreement():
    logits = np.eye(4, dtype=np.float32)
    moved = logits[[0, 1, 2, 0]]
    assert compare(logits, moved).interval == wilson(3, 4)
