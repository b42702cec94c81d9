"""Finds the values that two networks have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit.layerwise.taps import INPUT, INT8, Tap, Taps
from edgekit.runtimes.base import Array

Floats = NDArray[np.float32]


class Pair(NamedTuple):
    """A value of the candidate and the reference's value that it should equal, whose name there is
    ``counterpart``.
    """

    counterpart: str
    ours: Tap
    theirs: Tap

    def take(self, values: Mapping[str, Array]) -> Floats:
        return self.theirs.frame.to_reference(values[self.theirs.tensor])

    def put(self, exact: Floats) -> Floats:
        return self.theirs.frame.from_reference(exact)


def paired(reference: Taps, candidate: Taps) -> dict[str, Pair]:
    """The common values, by the candidate's names and in its order. The outputs are a pair even if
    their names differ.

    Raises:
        InputError: there is no common value.
    """
    found = {}
    for name, tap in candidate.taps.items():
        options = (
            (reference.output,) if name == candidate.output else (name, name.removesuffix(INT8))
        )
        counterpart = next((option for option in options if option in reference.taps), None)
        if counterpart is None:
            continue
        ours = reference.taps[counterpart]
        if same_shape(ours.shape, tap.shape) and not ours.op_type == tap.op_type == INPUT:
            found[name] = Pair(counterpart, ours, tap)
    if not found:
        raise InputError(
            "the two have no value in common: "
            + _names(reference)
            + " here, "
            + _names(candidate)
            + " there",
            hint="compare graphs of the same network, exported by the same tool",
        )
    return found


def batch_size(reference: Taps, candidate: Taps) -> int:
    """The batch for both networks: the static batch of either one, else 1.

    Raises:
        InputError: the static batches differ.
    """
    sizes = {size for size in (reference.batch, candidate.batch) if size is not None}
    if len(sizes) > 1:
        raise InputError(
            f"the static batches differ: {reference.batch} and {candidate.batch}",
            hint="export both with the same `batch`",
        )
    return next(iter(sizes), 1)


def _names(taps: Taps) -> str:
    return next((name for name, tap in taps.taps.items() if tap.op_type != INPUT), "none")


def same_shape(a: Sequence[int | str | None] | None, b: Sequence[int | str | None] | None) -> bool:
    """Whether two shapes are equal in all dimensions that are known in both."""
    if a is None or b is None:
        return True
    return len(a) == len(b) and all(None in (i, j) or i == j for i, j in zip(a, b, strict=True))
