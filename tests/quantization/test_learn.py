"""Learned steps and biases: closer to the float network on other photos, and within all limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.graph.io import load
from edgekit.progress import QUIET, Progress, Quiet
from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.fake import Round
from edgekit.quantization.learn import (
    BATCH,
    FEWEST_PASSES,
    MOST_MACS,
    PASSES,
    Budget,
    Images,
    Learnt,
    Seconds,
    blocks,
    learn,
    passes_for,
    views,
)
from edgekit.quantization.placement import Placement
from edgekit.quantization.qdq import widest_step
from edgekit.quantization.twin import Grid, fidelity, logits_of
from edgekit.quantization.weights import Weights, round_weights, rounded_constants
from tests.quantization.conftest import graph, widest_grids, with_weights
from tests.quantization.test_placement import placed

BUDGET = Images(24 * BATCH)


class Start(NamedTuple):
    network: TorchGraph
    placement: Placement
    grids: Mapping[str, Grid]
    weights: Weights
    widest: Mapping[str, float]
    images: list[NDArray[np.float32]]

    def learn(
        self,
        photos: NDArray[np.float32],
        budget: Budget = BUDGET,
        *,
        codes: bool = False,
        progress: Progress = QUIET,
    ) -> Learnt:
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
            budget,
            codes=codes,
            progress=progress,
        )

    def reached(
        self, grids: Mapping[str, Grid], weights: Weights, photos: NDArray[np.float32]
    ) -> float:
        """The SQNR on photos that neither taught nor chose."""
        unseen = photos[40:]
        network = self.network.with_constants(
            rounded_constants(self.network, self.placement, weights)
        )
        logits = logits_of(network, unseen, self.placement.edges, grids)
        return fidelity(logits_of(self.network, unseen), logits).sqnr


@pytest.fixture(scope="module")
def start(mobilenet: Artifact, photos: NDArray[np.float32]) -> Start:
    """Every step of the weights is off by some per cent, and every bias by a part of what its layer
    gives: something is left to learn.
    """
    return _start(load(mobilenet.path), photos)


def _start(model: ir.Model, photos: NDArray[np.float32]) -> Start:
    network, placement, images = TorchGraph(model), placed(model), list(photos[:24])
    grids = widest_grids(model, network, placement, images)
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
    before = start.reached(start.grids, start.weights, photos)
    after = start.reached(learnt.grids, learnt.weights, photos)
    assert after > before + 3.0  # dB
    assert learnt.after.sqnr > learnt.before.sqnr


def test_an_image_with_logits_near_zero_does_not_outweigh_the_others() -> None:
    """Such images lie between the two classes of a network. Here they have one color, so that no
    shift changes their logits.
    """
    model = with_weights(
        graph(
            "(float[1,3,8,8] x, float[32,3,3,3] w, float[32] c, float[32,2] v, float[2] d) => "
            "(float[1,2] y) { a = Conv(x, w, c) b = Relu(a) p = GlobalAveragePool(b) "
            "f = Flatten(p) y = Gemm(f, v, d) }"
        ),
        w=(32, 3, 3, 3),
        c=(32,),
        v=(32, 2),
        d=(2,),
    )
    colors = np.random.default_rng(0).standard_normal((56, 3, 1, 1)).astype(np.float32)
    images = np.tile(colors, (8, 8))
    bias = model.graph.initializers["d"]
    assert bias.const_value is not None
    logits = logits_of(TorchGraph(model), images[:1])[0]
    bias.const_value = ir.tensor(bias.const_value.numpy() - logits, name="d")
    learnt = _start(model, images).learn(images)
    assert learnt.after.sqnr > learnt.before.sqnr + 1.0  # dB


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


class Watched(Quiet):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int | None, str]] = []

    def advance(self, done: int, total: int | None, what: str = "") -> None:
        self.told.append((done, total, what))


def test_codes_are_learnt_as_well(start: Start, photos: NDArray[np.float32]) -> None:
    """The codes are off by up to 6: steps and biases alone cannot mend that."""
    generator = np.random.default_rng(1)
    worse = start._replace(
        weights=replace(
            start.weights,
            rounded={
                name: replace(
                    weight,
                    values=np.clip(
                        weight.values + generator.integers(-6, 7, weight.values.shape), -127, 127
                    ).astype(np.int8),
                )
                for name, weight in start.weights.rounded.items()
            },
        )
    )
    watched = Watched()
    budget = Images(40 * BATCH)
    done = worse.learn(photos, budget, codes=True, progress=watched)
    before = start.reached(worse.grids, worse.weights, photos)
    assert start.reached(done.grids, done.weights, photos) > before + 3.0  # dB
    assert done.passes == budget.count
    moved = [
        (weight.values, done.weights.rounded[name].values)
        for name, weight in worse.weights.rounded.items()
    ]
    assert all(after.dtype == np.int8 and abs(after).max() <= 127 for _, after in moved)
    assert sum(int((before != after).sum()) for before, after in moved) > 100
    assert [told[0] for told in watched.told] == [round(100 * (i / 40)) for i in range(1, 41)]
    assert watched.told[-1] == (100, 100, f"learned, {done.after.sqnr:.1f} dB")


def test_time_ends_the_learning(
    start: Start, photos: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    budget = Seconds(10.0, started=now[0])

    class Clock(Quiet):
        def advance(self, done: int, total: int | None, what: str = "") -> None:
            now[0] += 4.0  # the time of one batch

    done = start.learn(photos, budget, progress=Clock())
    assert done.passes == 3 * BATCH and budget.spent(0) == 1.0


def test_views_are_as_sharp_as_photos(photos: NDArray[np.float32]) -> None:
    """They are shifted and flipped, never resized: all their pixels are pixels of the photo."""
    photo = photos[0] + np.random.default_rng(0).normal(0, 1, photos[0].shape).astype(np.float32)
    several = [view.numpy() for view in islice(views([photo], np.random.default_rng(0)), 20)]
    assert all(view.shape == photo.shape for view in several)
    assert all(set(view.flat) <= set(photo.flat) for view in several)
    assert len({view.tobytes() for view in several}) > 10
    again = next(views([photo], np.random.default_rng(0)))
    assert np.array_equal(again.numpy(), several[0])


def test_the_blocks_are_the_residual_ones(start: Start) -> None:
    found = blocks(start.network)
    adds = [step for step in start.network.steps if step.op_type == "Add"]
    assert len(found) == 3 and set(found) <= {step.outputs[0] for step in adds}


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
