"""Refines what the search found: learns a few numbers, recovers accuracy, or trains it further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from edgekit.errors import InputError
from edgekit.quantization.alternatives import Alternative, Task
from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.learn import Budget, Images, Learnt, Seconds, learn, passes_for
from edgekit.quantization.qdq import widest_step
from edgekit.quantization.twin import Grid
from edgekit.quantization.weights import Weights, round_weights
from edgekit.runtimes.base import Array

MOST_BYTES = 10**9  # of the photos that recovery keeps in memory


@dataclass(frozen=True)
class Refined:
    """Grids and weights, and notes for the report."""

    grids: Mapping[str, Grid]
    weights: Weights
    notes: tuple[str, ...] = ()

    def noted(self, note: str) -> Refined:
        return replace(self, notes=(*self.notes, note))


def refine(task: Task, best: Alternative, grids: Mapping[str, Grid]) -> Refined:
    """Rounds the weights, then does what the configuration asks for: ``tune``, ``recover``, or with
    adaptive rounding to learn steps and biases. Only ``tune`` can make the held-out photos worse.
    """
    config = task.config
    found = _rounded(task, best.network, grids)
    if config.recover is not None:
        return _recovered(task, best, found, Seconds(config.recover))
    if config.tune is not None:
        start = (best.network, task.placement, grids, found.weights, _widest(best, grids))
        trained = config.tune(*start, task.samples.held_out, task.reference)
        return Refined(trained.grids, trained.weights, found.notes)
    if config.rounding == "nearest" or config.passes == 0:
        return found
    return _learned(task, best, found)


def check_recoverable(network: TorchGraph) -> None:
    """
    Raises:
        InputError: an operator of the network has no gradient, so nothing can be recovered.
    """
    if not network.differentiable:
        unknown = sorted({step.op_type for step in network.steps if not step.differentiable})
        raise InputError(
            f"accuracy cannot be recovered through {', '.join(unknown)}: no gradient is known",
            hint="remove `recover`",
        )


def _rounded(task: Task, network: TorchGraph, grids: Mapping[str, Grid]) -> Refined:
    config = task.config
    weights = round_weights(
        network,
        task.placement,
        grids,
        task.samples.search,
        mode=config.rounding,
        correct_bias=config.correct_bias,
        progress=task.progress,
    )
    plain = weights.plain if config.rounding == "adaptive" else ()
    return Refined(
        grids,
        weights,
        tuple(
            f"{layer} has too many inputs for adaptive rounding: its weights are rounded to nearest"
            for layer in plain
        ),
    )


def _learned(task: Task, best: Alternative, found: Refined) -> Refined:
    """Learns steps and biases."""
    network = best.network
    passes = passes_for(task.placement, task.config.passes) if network.differentiable else 0
    if passes == 0:
        why = (
            "the network is too large to learn them in reasonable time"
            if network.differentiable
            else "an operator of the network has no gradient"
        )
        return found.noted(f"steps and biases were not learned: {why}")
    done = _learn(task, best, found, task.samples.search, Images(passes))
    return _better(done, found, f"steps and biases learned from {passes} views")


def _recovered(task: Task, best: Alternative, found: Refined, budget: Budget) -> Refined:
    """Learns codes, steps and biases, from all calibration photos."""
    done = _learn(task, best, found, _photos(task), budget, codes=True)
    return _better(done, found, f"codes, steps and biases learned from {done.passes} views")


def _learn(
    task: Task,
    best: Alternative,
    found: Refined,
    images: Sequence[Array],
    budget: Budget,
    *,
    codes: bool = False,
) -> Learnt:
    return learn(
        best.network,
        task.placement,
        found.grids,
        found.weights,
        _widest(best, found.grids),
        images,
        task.samples.held_out,
        task.reference,
        budget,
        codes=codes,
        progress=task.progress,
    )


def _widest(best: Alternative, grids: Mapping[str, Grid]) -> dict[str, float]:
    """The largest allowed step of each grid."""
    return {value: widest_step(best.model, value, grid) for value, grid in grids.items()}


def _better(done: Learnt, found: Refined, what: str) -> Refined:
    """The learned state if it is better on the held-out photos."""
    before, after = done.before.sqnr, done.after.sqnr
    if after <= before:
        return found.noted(f"{what} were not better on the held-out photos and were discarded")
    note = f"{what}: {before:.1f} dB became {after:.1f} dB on the held-out photos"
    return Refined(done.grids, done.weights, found.notes).noted(note)


def _photos(task: Task) -> list[Array]:
    """All calibration photos, as many as fit into memory."""
    most = MOST_BYTES // task.samples.search[0].nbytes
    return list(islice(task.samples.stream(), max(most, len(task.samples.search))))
