"""Which layers return to float: those that help, the cheapest help first, within the limits."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.quantize.mixed import MOST_FRUITLESS, Fallback, Gate, Limits, choose
from edgekit.quantize.sensitivity import LayerSensitivity, Sensitivity
from edgekit.quantize.twin import Fidelity

UNMET = Gate(agreement=0.0, sqnr=60.0)


def reaching(sqnr: float) -> Fidelity:
    return Fidelity(sqnr, 0.5, 0.5, 0.0)


def chosen(alone: Mapping[str, float], gains: Mapping[str, float], gate: Gate = UNMET, limits: Limits | None = None) -> Fallback:
    """What is chosen where layers reach ``alone`` dB by themselves, each 5 % of the network, and add ``gains`` to 20 dB when kept together."""
    rows = [LayerSensitivity(name, reaching(sqnr), reaching(sqnr), 0.05, 0.05) for name, sqnr in alone.items()]

    def evaluate(kept: frozenset[str]) -> Fidelity:
        return reaching(20 + sum(gains[name] for name in kept))

    return choose(Sensitivity(tuple(rows), reaching(20), 8), reaching(20), evaluate, gate, limits or Limits(1.0, 1.0))


def test_a_layer_that_gains_nothing_beside_the_others_stays_int8() -> None:
    fallback = chosen({"a": 22, "b": 21.5, "c": 21}, {"a": 2, "b": 0, "c": 1})
    assert [(k.layer, k.gain) for k in fallback.kept] == [("a", 2), ("c", 1)]
    assert fallback.reached.sqnr == 23 and not fallback.met


def test_no_more_are_taken_than_the_gate_asks_or_the_limits_allow() -> None:
    alone, gains = {"a": 23, "b": 22, "c": 21}, {"a": 2, "b": 2, "c": 2}
    assert [k.layer for k in chosen(alone, gains, Gate(0.0, 23.5)).kept] == ["a", "b"]
    assert [k.layer for k in chosen(alone, gains, limits=Limits(macs=0.06)).kept] == []
    assert [k.layer for k in chosen(alone, gains, limits=Limits(macs=0.06, weights=1.0)).kept] == ["a"]


def test_the_search_ends_where_layer_after_layer_gains_nothing() -> None:
    dull = {f"dull{i}": 22 - i / 100 for i in range(MOST_FRUITLESS)}
    late = {"late": 21.0}
    assert chosen(dull | late, dict.fromkeys(dull, 0.0) | {"late": 5.0}).kept == ()
    assert [k.layer for k in chosen(dict(list(dull.items())[1:]) | late, dict.fromkeys(dull, 0.0) | {"late": 5.0}).kept] == ["late"]
