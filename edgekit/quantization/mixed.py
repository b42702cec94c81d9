"""Mixed precision: the few layers whose return to float meets the gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.quantization.sensitivity import Sensitivity
from edgekit.quantization.twin import Fidelity

SHARE_FLOOR = 0.01  # of the MACs: what a layer costs at least, as a kernel of its own
LEAST_GAIN = 0.05  # dB alone; less is the noise of the measurement
# of the expected agreement: what a layer is worth where the gate is met and only not safely
LEAST_RISE = 0.002
# layers tried that gained nothing beside those kept, where the gate is met and only not safely
MOST_FRUITLESS = 8


@dataclass(frozen=True)
class Requirement:
    """What the int8 network must reach on the images that choose; ``sqnr`` in dB of the logits."""

    agreement: float = 0.95
    sqnr: float = 0.0

    def met_by(self, reached: Fidelity) -> bool:
        """Whether what was counted reaches the gate."""
        return reached.agreement >= self.agreement and reached.sqnr >= self.sqnr

    def safely_met_by(self, reached: Fidelity) -> bool:
        """Whether other images are likely to meet the gate too: what the margins let expect reaches
        it as well, with a standard error to spare.
        """
        return self.met_by(reached) and reached.expected - reached.deviation >= self.agreement


@dataclass(frozen=True)
class Limits:
    """The largest shares (0 … 1) of the network's MACs and weights that may leave int8: the first
    costs time, the second size.
    """

    macs: float = 0.10
    weights: float = 0.04


@dataclass(frozen=True)
class KeptLayer:
    """A layer kept in float: ``gain`` in dB over the step before it, its share of the MACs, and
    what was reached with it.
    """

    layer: str
    gain: float
    macs_share: float
    reached: Fidelity


@dataclass(frozen=True)
class Fallback:
    """``kept`` in the order in which they were taken; ``met`` says whether the gate was."""

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
    """Takes layers back to float until the gate is met safely, passing over those that would exceed
    the limits and those that turn out to gain nothing.

    Layers are taken by how much logit error they remove for their MACs, which the layer-alone
    measurement tells well; what a set of them reaches is measured anew at every step. As long as
    what was counted misses the gate, every layer that the limits allow is tried.

    Args:
        sensitivity: of every int8 layer, on images that may be fewer.
        all_int8: what was reached without any.
        evaluate: the fidelity with a set of layers in float.
        gate: what must be reached.
        limits: what may leave int8 at most.
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
        kept.append(KeptLayer(row.layer, after.sqnr - reached.sqnr, row.macs_share, after))
        reached, macs, weights = after, macs + row.macs_share, weights + row.weights_share
    return Fallback(tuple(kept), reached, gate.met_by(reached))


def _worth(before: Fidelity, after: Fidelity, gate: Requirement) -> bool:
    """Whether a layer's return to float pays: by any gain as long as the gate is missed, then by
    one that other images would feel.
    """
    if gate.met_by(before):
        return gate.met_by(after) and after.expected >= before.expected + LEAST_RISE
    return (
        after.sqnr > before.sqnr
        or after.expected > before.expected
        or after.agreement > before.agreement
    )
