"""Which layers return to float: those that help, the cheapest first, within the limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from edgekit.quantization.mixed import (
    LEAST_RISE,
    MOST_FRUITLESS,
    Fallback,
    Limits,
    Requirement,
    choose,
)
from edgekit.quantization.sensitivity import LayerSensitivity, Sensitivity
from edgekit.quantization.twin import Fidelity

UNMET = Requirement(agreement=0.0, sqnr=60.0)


def reaching(sqnr: float) -> Fidelity:
    return Fidelity(sqnr, 0.5, 0.5, 0.0)


def chosen(
    alone: Mapping[str, float],
    gains: Mapping[str, float],
    gate: Requirement = UNMET,
    limits: Limits | None = None,
) -> Fallback:
    """What is chosen where layers reach ``alone`` dB by themselves, each 5 % of the network, and
    add ``gains`` to 20 dB when kept together.
    """
    rows = [
        LayerSensitivity(name, reaching(sqnr), reaching(sqnr), 0.05, 0.05)
        for name, sqnr in alone.items()
    ]

    def evaluate(kept: frozenset[str]) -> Fidelity:
        return reaching(20 + sum(gains[name] for name in kept))

    return choose(
        Sensitivity(tuple(rows), reaching(20), 8),
        reaching(20),
        evaluate,
        gate,
        limits or Limits(1.0, 1.0),
    )


def test_a_layer_that_gains_nothing_beside_the_others_stays_int8() -> None:
    fallback = chosen({"a": 22, "b": 21.5, "c": 21}, {"a": 2, "b": 0, "c": 1})
    assert [(k.layer, k.gain) for k in fallback.kept] == [("a", 2), ("c", 1)]
    assert fallback.reached.sqnr == 23 and not fallback.met


def test_no_more_are_taken_than_the_gate_asks_or_the_limits_allow() -> None:
    alone, gains = {"a": 23, "b": 22, "c": 21}, {"a": 2, "b": 2, "c": 2}
    assert [k.layer for k in chosen(alone, gains, Requirement(0.0, 23.5)).kept] == ["a", "b"]
    assert [k.layer for k in chosen(alone, gains, limits=Limits(macs=0.06)).kept] == []
    assert [k.layer for k in chosen(alone, gains, limits=Limits(macs=0.06, weights=1.0)).kept] == [
        "a"
    ]


def counting(agreement: float, expected: float, sqnr: float = 20.0) -> Fidelity:
    return Fidelity(sqnr, agreement, expected, 0.01)


def kept_until(
    gate: Requirement, all_int8: Fidelity, after: Callable[[int], Fidelity], layers: int = 30
) -> Fallback:
    """What is chosen among equal layers, each 1 % of the network, where ``after`` tells what so
    many in float reach.
    """
    rows = [
        LayerSensitivity(f"{i:02}", reaching(20.5), reaching(20), 0.01, 0.001)
        for i in range(layers)
    ]
    return choose(
        Sensitivity(tuple(rows), reaching(20), 8),
        all_int8,
        lambda kept: after(len(kept)),
        gate,
        Limits(),
    )


def test_the_count_decides_if_the_expectation_is_higher() -> None:
    """The margins promise 0.99 from the start; the count says 0.92, and 0.95 from five
    layers on.
    """
    gate = Requirement(agreement=0.95)
    fallback = kept_until(
        gate,
        counting(0.92, 0.99),
        lambda kept: counting(0.92 if kept < 5 else 0.95, 0.99, 20 + kept),
    )
    assert len(fallback.kept) == 5 and fallback.met
    never = kept_until(gate, counting(0.92, 0.99), lambda kept: counting(0.92, 0.99, 20 + kept))
    assert len(never.kept) == 10 and not never.met, "a tenth of the MACs"


def test_the_expectation_adds_layers_if_the_count_is_met() -> None:
    gate = Requirement(agreement=0.95)
    fallback = kept_until(gate, counting(1.0, 0.93), lambda kept: counting(1.0, 0.93 + kept / 100))
    assert len(fallback.kept) == 3 and fallback.met
    assert [k.rise for k in fallback.kept] == pytest.approx([0.01] * 3)
    short = kept_until(gate, counting(1.0, 0.93), lambda kept: counting(1.0, 0.93 + 0.0025 * kept))
    assert len(short.kept) == 10 and short.met, "the count meets the gate, though not safely"
    dull = kept_until(
        gate, counting(1.0, 0.93), lambda kept: counting(1.0, 0.93 + LEAST_RISE / 2 * kept)
    )
    assert dull.kept == () and dull.met, "no layer is worth its MACs"


def test_no_layer_returns_that_would_break_the_count() -> None:
    fallback = kept_until(
        Requirement(0.95), counting(0.96, 0.94), lambda kept: counting(0.94, 0.94 + kept / 100)
    )
    assert fallback.kept == () and fallback.met


def test_layers_are_tried_until_the_gate_is_met() -> None:
    """However many gained nothing before."""
    tried: list[str] = []
    rows = [
        LayerSensitivity(f"{i:02}", reaching(20.0), reaching(20), 0.01, 0.001) for i in range(40)
    ]

    def evaluate(kept: frozenset[str]) -> Fidelity:
        tried.extend(kept)
        return counting(0.96, 0.99, 21) if "35" in kept else counting(0.92, 0.99)

    fallback = choose(
        Sensitivity(tuple(rows), reaching(20), 8),
        counting(0.92, 0.99),
        evaluate,
        Requirement(0.95),
        Limits(),
    )
    assert [k.layer for k in fallback.kept] == ["35"] and fallback.met and len(tried) == 36


def test_the_search_for_safety_ends_after_layers_without_gain() -> None:
    met = counting(0.96, 0.955)
    calls: list[int] = []

    def evaluate(kept: frozenset[str]) -> Fidelity:
        calls.append(len(kept))
        return met

    rows = [
        LayerSensitivity(f"{i:02}", reaching(21.0), reaching(20), 0.01, 0.001) for i in range(40)
    ]
    fallback = choose(
        Sensitivity(tuple(rows), reaching(20), 8), met, evaluate, Requirement(0.95), Limits()
    )
    assert fallback.kept == () and fallback.met and len(calls) == MOST_FRUITLESS
