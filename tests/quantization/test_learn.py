"""Learned steps and biases: closer to the float network on other photos, and within all limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.graph.io import load
from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.fake import Round
from edgekit.quantization.learn import (
    BATCH,
    FEWEST_PASSES,
    MOST_MACS,
    PASSES,
    Learnt,
    learn,
    passes_for,
)
from edgekit.quantization.placement import Placement
from edgekit.quantization.qdq import centrable, widest_step
from edgekit.quantization.twin import Grid, fidelity, logits_of
from edgekit.quantization.weights import Weights, round_weights, rounded_constants
from tests.quantization.test_placement import placed

PASSED = 24 * BATCH


class Start(NamedTuple):
    network: TorchGraph
    placement: Placement
    grids: Mapping[str, Grid]
    weights: Weights
    widest: Mapping[str, float]
    images: list[NDArray[np.float32]]

    def learn(self, photos: NDArray[np.float32]) -> Learnt:
        held_out = list(photos[24:40])
        reference = logits_of(self.network, held_out)
        return learn(
            self.network,
            self.placement,
            self.grids,
            self.weights,
            self.widest,
            self.images,
            held_out,
            reference,
            passes=PASSED,
        )


@pytest.fixture(scope="module")
def start(mobilenet: Artifact, photos: NDArray[np.float32]) -> Start:
    """Every step of the weights is off by some per cent, and every bias by a part of what its layer
    gives: something is left to learn.
    """
    model = load(mobilenet.path)
    network, placement, images = TorchGraph(model), placed(model), list(photos[:24])
    largest = dict.fromkeys(placement.values, 0.0)
    with torch.inference_mode():
        for image in images:
            seen = network.run(
                image, keep=[value for value in placement.values if value != network.input]
            )
            seen[network.input] = torch.from_numpy(image)
            largest = {
                value: max(most, float(seen[value].abs().max())) for value, most in largest.items()
            }
    grids = {
        value: Grid(
            most / (255 if centrable(model, placement, value) else 127),
            centrable(model, placement, value),
        )
        for value, most in largest.items()
    }
    weights = _disturbed(
        round_weights(network, placement, grids, images, mode="nearest", correct_bias=True)
    )
    widest = {value: widest_step(model, value, grid) for value, grid in grids.items()}
    return Start(network, placement, grids, weights, widest, images)


def _disturbed(weights: Weights) -> Weights:
    generator = np.random.default_rng(0)
    rounded = {
        name: replace(
            weight,
            scales=weight.scales
            * np.exp(generator.normal(0, 0.03, weight.scales.shape)).astype(np.float32),
        )
        for name, weight in weights.rounded.items()
    }
    biases = {
        name: bias + generator.normal(0, 0.1 * bias.std(), bias.shape).astype(np.float32)
        for name, bias in weights.biases.items()
    }
    return replace(weights, rounded=rounded, biases=biases)


@pytest.fixture(scope="module")
def learnt(start: Start, photos: NDArray[np.float32]) -> Learnt:
    return start.learn(photos)


def test_it_is_closer_on_other_photos(
    start: Start, learnt: Learnt, photos: NDArray[np.float32]
) -> None:
    unseen = photos[40:]
    reference = logits_of(start.network, unseen)

    def reached(grids: Mapping[str, Grid], weights: Weights) -> float:
        constants = rounded_constants(start.network, start.placement, weights)
        network = start.network.with_constants(constants)
        return fidelity(reference, logits_of(network, unseen, start.placement.edges, grids)).sqnr

    before, after = reached(start.grids, start.weights), reached(learnt.grids, learnt.weights)
    assert after > before + 3.0  # dB
    assert learnt.after.sqnr > learnt.before.sqnr


def test_only_steps_and_biases_move(start: Start, learnt: Learnt) -> None:
    moved = {
        layer.name: (start.weights.rounded[layer.name], learnt.weights.rounded[layer.name])
        for layer in start.placement.quantized
    }
    assert all(
        np.array_equal(before.values, after.values) and before.axis == after.axis
        for before, after in moved.values()
    )
    assert any((before.scales != after.scales).any() for before, after in moved.values())
    assert any(learnt.grids[value].scale != grid.scale for value, grid in start.grids.items())
    assert learnt.weights.biases.keys() == {
        layer.name for layer in start.placement.quantized if layer.bias is not None
    }
    assert all(learnt.grids[value].centred == grid.centred for value, grid in start.grids.items())


def test_grids_end_where_their_activation_does(start: Start, learnt: Learnt) -> None:
    bounded = {value: step for value, step in start.widest.items() if np.isfinite(step)}
    assert bounded and all(
        learnt.grids[value].scale <= step * (1 + 1e-6) for value, step in bounded.items()
    )
    tied = start.placement.ties
    assert all(
        learnt.grids[a].scale == learnt.grids[b].scale
        for a in tied
        for b in tied
        if tied[a] == tied[b]
    )


def test_the_same_is_learnt_again(
    start: Start, learnt: Learnt, photos: NDArray[np.float32]
) -> None:
    before = dict(start.network.constants)
    again = start.learn(photos)
    assert again.grids == learnt.grids and again.after == learnt.after
    assert start.network.constants.keys() == before.keys() and all(
        start.network.constants[name] is before[name] for name in before
    )


@pytest.mark.parametrize("centred", [False, True])
def test_the_gradient_of_a_step_is_that_of_its_definition(centred: bool) -> None:
    """Against numbers by hand: inside a grid (round(x / s) - x / s), beyond its ends the code
    itself (LSQ, equation 3).
    """
    low, high = Grid(1.0, centred).codes
    x = torch.tensor([0.3, 1.7, -0.2, low * 0.5 - 9.0, high * 0.5 + 9.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0, 5.0, 7.0])
    (Round.apply(x, scale, Grid(0.5, centred)) * weights).sum().backward()  # type: ignore[no-untyped-call]
    codes = (x.detach() / 0.5).round().clamp(low, high)
    inside = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])  # -0.2 rounds to code 0, which both have
    by_hand = (weights * torch.where(inside > 0, codes - x.detach() / 0.5, codes)).sum()
    assert scale.grad is not None and x.grad is not None
    assert scale.grad.item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert torch.equal(x.grad, weights * inside)


def test_large_networks_learn_from_fewer_images_or_not_at_all(start: Start) -> None:
    def of(macs: int) -> Placement:
        return Placement(
            (
                start.placement.layers[0].__class__(
                    **{**vars(start.placement.layers[0]), "macs": macs}
                ),
            ),
            {},
            {},
        )

    assert passes_for(start.placement, PASSES) == PASSES and passes_for(start.placement, 20) == 16
    assert passes_for(of(MOST_MACS // 400), PASSES) == 400
    assert passes_for(of(MOST_MACS // (FEWEST_PASSES - 1)), PASSES) == 0
