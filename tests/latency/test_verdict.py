"""FP16 or INT8, from ratios and gates."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.latency.statistics import block_medians, ratio_of_turns
from edgekit.latency.verdict import Contender, verdict


def measured(factor: float, seed: int, **rest) -> Contender:
    """Seven blocks of 30 runs about ``factor`` ms with 0.2 % noise."""
    numbers = factor * np.random.default_rng(seed).normal(1.0, 0.002, (7, 30))
    return Contender(block_medians(numbers.tolist()), **rest)


FP16 = measured(1.0, 0, reformats=2)


def test_the_faster_ships_where_both_meet_their_gates():
    found = verdict(FP16, measured(0.6, 1))
    assert found.ship == "int8"
    assert found.ratio == ratio_of_turns(measured(0.6, 1).blocks, FP16.blocks)
    assert found.ratio.value == pytest.approx(0.6, abs=0.005)
    assert (
        found.why.startswith("INT8 takes 40")
        and "95 % interval 0." in found.why
        and found.why.endswith("and meets its gate")
    )


def test_a_slower_int8_is_said_to_be_slower_with_its_reformats():
    found = verdict(FP16, measured(1.04, 1, reformats=12))
    assert found.ship == "fp16"
    assert found.why.startswith("INT8 is 4.") and found.why.endswith(
        ": 12 reformat layers against 2"
    )
    assert verdict(measured(1.0, 0), measured(1.04, 1, reformats=12)).why.endswith(
        ": 12 reformat layers"
    )


@pytest.mark.parametrize("reformats", [None, 0, 2])
def test_reformats_are_no_cause_where_int8_has_no_more_of_them(reformats):
    assert "reformat" not in verdict(FP16, measured(1.04, 1, reformats=reformats)).why


def test_no_difference_ships_fp16():
    found = verdict(FP16, measured(1.0, 1))
    assert found.ratio.low <= 1 <= found.ratio.high
    none = "no difference was measured here beyond 2% (ratio"
    assert found.ship == "fp16" and found.why.startswith(none)


@pytest.mark.parametrize("factor", [0.985, 1.015])
def test_a_difference_that_two_sessions_of_one_engine_have_decides_nothing(factor):
    found = verdict(FP16, measured(factor, 1, reformats=12))
    assert found.ratio.faster or found.ratio.slower
    assert found.ship == "fp16" and found.why.startswith(
        "no difference was measured here beyond 2%"
    )


def test_a_faster_engine_that_misses_its_gate_is_not_shipped():
    found = verdict(FP16, measured(0.5, 1, failures=("SQNR 3.0 dB is under 20 dB", "another")))
    assert (found.ship, found.why) == ("fp16", "INT8 misses its gate: SQNR 3.0 dB is under 20 dB")
    found = verdict(measured(1.0, 0, failures=("NaN",)), measured(1.5, 1))
    assert (found.ship, found.why) == ("int8", "FP16 misses its gate: NaN")


def test_neither_ships_where_both_miss():
    found = verdict(measured(1.0, 0, failures=("a",)), measured(0.5, 1, failures=("b",)))
    assert found.ship is None
    assert found.why == "neither meets its gate: FP16: a; INT8: b"


def test_unequal_turns_are_refused():
    with pytest.raises(ValueError, match="blocks"):
        verdict(FP16, Contender(FP16.blocks[:-1]))
