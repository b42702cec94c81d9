"""A candidate now and before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgekit.latency.compare import Sample, compare, compare_all

THEN = Sample("onnxruntime fp16", "0" * 64, "onnxruntime", "1.30", "end to end", 1, 2, (1.0,) * 10)


def at(factor: float, seed: int = 0, spread: float = 0.01) -> Sample:
    noise = np.random.default_rng(seed).normal(0, spread, 10)
    return replace(THEN, version="1.32", blocks=tuple((factor * np.exp(noise)).tolist()))


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [
        (1.2, "regression"),
        (1.02, "no difference shown"),
        (1.0, "no difference shown"),
        (0.97, "no difference shown"),
        (0.9, "faster"),
    ],
)
def test_verdicts(factor: float, verdict: str) -> None:
    change = compare(at(1.0, 1), at(factor, 2))
    assert change.verdict == verdict
    assert change.ratio.value == pytest.approx(factor, rel=0.02)
    assert (change.before, change.now) == (
        pytest.approx(1, rel=0.02),
        pytest.approx(factor, rel=0.02),
    )
    assert change.versions == ("1.32", "1.32")


def test_a_regression_needs_the_whole_interval_beyond_the_tolerance() -> None:
    noisy = compare(at(1.0, 1, 0.2), at(1.12, 2, 0.2))
    assert noisy.ratio.value > 1.05 > noisy.ratio.low
    assert noisy.verdict == "no difference shown"
    steady = compare(THEN, replace(THEN, blocks=(1.2,) * 10), tolerance=0.2)
    assert steady.ratio.low == pytest.approx(1.2)
    assert compare(THEN, replace(THEN, blocks=(1.21,) * 10), tolerance=0.2).verdict == "regression"


def test_small_differences_between_two_processes_are_no_verdict() -> None:
    """Each process is faster or slower than the others by about 1 %, and steady in itself."""
    places = np.random.default_rng(0).normal(0, 0.01, 20)
    benches = [at(float(np.exp(place)), seed, 0.002) for seed, place in enumerate(places)]
    changes = [compare(a, b) for a in benches for b in benches if a is not b]
    claims = sum(change.ratio.slower or change.ratio.faster for change in changes)
    assert claims > len(changes) / 2
    assert {change.verdict for change in changes} == {"no difference shown"}
    doubled = compare(at(2.0), at(1.0)), compare(at(1.0), at(2.0))
    assert [change.verdict for change in doubled] == ["faster", "regression"]


@pytest.mark.parametrize(
    "change",
    [
        {"graph": "1" * 64},
        {"runtime": "torch"},
        {"what": "engine only"},
        {"batch": 2},
        {"threads": 1},
    ],
)
def test_only_the_same_is_compared(change: dict[str, object]) -> None:
    assert len(compare_all([THEN], [at(1.0)])) == 1
    assert compare_all([replace(THEN, **change)], [at(1.0)]) == ()  # type: ignore[arg-type]


def test_other_names_of_the_same_graph_are_the_same() -> None:
    (change,) = compare_all([replace(THEN, name="onnxruntime old")], [at(1.0)])
    assert change.name == "onnxruntime fp16"


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="another way"):
        compare(replace(THEN, batch=4), THEN)
    with pytest.raises(ValueError, match="two or more blocks"):
        compare(replace(THEN, blocks=()), THEN)
    assert compare_all([replace(THEN, blocks=())], [THEN]) == ()
