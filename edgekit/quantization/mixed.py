"""Mixed precision: chooses the few layers that stay in float to meet the gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.quantization.sensitivity import Sensitivity
from edgekit.quantization.twin import Fidelity

SHARE_FLOOR = 0.01  # smallest assumed cost of a float layer, as a share of the MACs
LEAST_GAIN = 0.05  # dB of one layer alone; less is measurement noise
# smallest useful gain of expected agreement, if the gate is met but not safely
LEAST_RISE = 0.002
# layers to try without a gain before stopping, if the gate is met but not safely
MOST_FRUITLESS = 8


@dataclass(frozen=True)
class Requirement:
    """The gate for the int8 network on the held-out images. ``agreement`` is 0 to 1, ``sqnr`` of
    the logits is in dB.
    """

    agreement: float = 0.95
    sqnr: float = 0.0

    def met_by(self, reached: Fidelity) -> bool:
        """Whether the measured values meet the gate."""
        return reached.agreement >= self.agreement and reached.sqnr >= self.sqnr

    def safely_met_by(self, reached: Fidelity) -> bool:
        """Whether other images will probably meet the gate too: the expected agreement, minus its
        standard error, also meets it.
        """
        return self.met_by(reached) and reached.expected - reached.deviation >= self.agreement


@dataclass(frozen=True)
class Limits:
    """The largest shares (0 … 1) of the network's MACs and weights that may be float. MACs cost
    time, weights cost size.
    """

    macs: float = 0.10
    weights: float = 0.04


@dataclass(frozen=True)
class KeptLayer:
    """A layer that stays float: its ``gain`` in dB and its ``rise`` of the expected agreement, 0 to
    1, over the previous step; its share of the MACs, and the fidelity with it.
    """

    layer: str
    gain: float
    rise: float
    macs_share: float
    reached: Fidelity


@dataclass(frozen=True)
class Fallback:
    """``kept`` are the float layers in the order of choice; ``met`` is whether the gate is met."""

    kept: tuple[KeptLayer, ...]
    reached: Fidelity
    met: bool


def choose(
    sensitivity: Sensitivity,
    all_int8: Fidelity,
    evaluate: Callable[[frozenset[str]], Fidelity],
    gate: Requirement,
    limits: Limits,
) -> Fallback:
    """Chooses layers to keep in float until the gate is safely met. Layers that would exceed the
    limits or gain nothing are skipped.

    Layers are tried in the order of removed logit error per MAC, as measured for each layer alone.
    The fidelity of the whole set is measured again at every step. While the gate is not met, every
    layer within the limits is tried.

    Args:
        sensitivity: the sensitivity of every int8 layer; it may use fewer images.
        all_int8: the fidelity without float layers.
        evaluate: returns the fidelity with a set of layers in float.
        gate: the requirement.
        limits: how much may be float at most.
    """
    reached = all_int8
    error = 10 ** (-sensitivity.all_int8.sqnr / 10)
    ranked = sorted(
        sensitivity.layers,
        key=lambda row: (
            -(error - 10 ** (-row.alone_float.sqnr / 10)) / max(row.macs_share, SHARE_FLOOR)
        ),
    )
    kept: list[KeptLayer] = []
    macs = weights = 0.0
    fruitless = 0
    for row in ranked:
        promising = (
            row.alone_float.sqnr >= sensitivity.all_int8.sqnr + LEAST_GAIN
            and fruitless < MOST_FRUITLESS
        )
        if gate.safely_met_by(reached) or (gate.met_by(reached) and not promising):
            break
        if macs + row.macs_share > limits.macs or weights + row.weights_share > limits.weights:
            continue
        after = evaluate(frozenset((*(k.layer for k in kept), row.layer)))
        if not _worth(reached, after, gate):
            fruitless += 1
            continue
        gain, rise = after.sqnr - reached.sqnr, after.expected - reached.expected
        kept.append(KeptLayer(row.layer, gain, rise, row.macs_share, after))
        reached, macs, weights = after, macs + row.macs_share, weights + row.weights_share
    return Fallback(tuple(kept), reached, gate.met_by(reached))


def _worth(before: Fidelity, after: Fidelity, gate: Requirement) -> bool:
    """Whether to keep a layer in float: for any gain while the gate is not met, then only for a
    clear gain of expected agreement.
    """
    if gate.met_by(before):
        return gate.met_by(after) and after.expected >= before.expected + LEAST_RISE
    return (
        after.sqnr > before.sqnr
        or after.expected > before.expected
        or after.agreement > before.agreement
    )
