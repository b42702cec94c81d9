"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.cli.options import parse_gate, parse_int8
from edgekit.comparison import DEFAULT_GATES, Gate
from edgekit.errors import InputError
from edgekit.pipeline.precision import Int8, RandomImages


def test_a_gate_changes_the_default():
    default = DEFAULT_GATES["fp16"]
    assert parse_gate("").over(default) == default
    assert parse_gate("none").over(default) == Gate()
    assert parse_gate("agreement=0.97, sqnr=20").over(default) == Gate(sqnr=20, agreement=0.97)
    assert parse_gate("sqnr=none,relative=1e-3").over(default) == Gate(
        relative=1e-3, agreement=0.99
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accuracy=0.9", "unknown key 'accuracy'"),
        ("agreement", "'agreement' has no value"),
        ("sqnr=high", "'high' is not a number"),
        ("agreement=97", "agreement 97 is not between 0 and 1"),
        ("agreement=-0.1", "is not between 0 and 1"),
        ("relative=-1", "relative -1 is not a number from 0 on"),
        ("agreement=nan", "'nan' is not a number"),
        ("sqnr=nan", "'nan' is not a number"),
    ],
)
def test_a_gate_that_cannot_be_read(text, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_gate(text)
    assert caught.value.hint


def test_options_of_int8():
    assert parse_int8(None, None, None, None, None) == Int8()
    assert parse_int8("photos", 8, "99.9", "nearest", 2.5) == Int8(
        Path("photos"), "percentile-99.9", "nearest", 8, 2.5
    )
    assert parse_int8("random", None, "mse", None, None) == Int8(RandomImages(0), "mse")
    assert parse_int8("random:7", None, None, None, None) == Int8(RandomImages(7))
    with pytest.raises(InputError, match="invalid value for --calib"):
        parse_int8("random:x", None, None, None, None)
