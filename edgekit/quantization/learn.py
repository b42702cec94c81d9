"""Learns the numbers of the whole int8 network together, by gradient descent, without labels.

The search chooses each range and rounds each layer separately. But rounding errors interact: after
a ReLU noise has a nonzero mean, and the means of many channels add up. Gradient descent brings the
logits of the int8 network close to those of the float network.

It changes the step of every activation grid, the step of every weight channel and every bias. These
are few parameters, so a few dozen photos, shifted at random, do not cause overfitting. With
``codes`` it also changes the int8 codes of the weights, as quantization-aware training does. These
are many parameters, so the outputs of the residual blocks have to be close as well, not only the
logits. The best state on held-out photos is kept, which may be the initial one.

The learned parameter is the logarithm of a step. Gradients use the straight-through estimator.
Momentum is divided by the root mean square of the tensor's gradient, so that one learning rate
works for all networks.

Sources: Esser et al., "Learned Step Size Quantization", ICLR 2020, arXiv:1902.08153 (the gradient
of a step); Li et al., "BRECQ", ICLR 2021, arXiv:2102.05426, and Wei et al., "QDrop", ICLR 2022,
arXiv:2203.05740 (activation steps and codes learned on a few photos against the float network,
block by block); Finkelstein et al., "Fighting Quantization Bias With Bias", arXiv:1906.03193
(biases alone).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import cos, pi
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edgekit.errors import BadNetwork
from edgekit.progress import QUIET, Progress
from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.fake import RATES, FakeQuantized
from edgekit.quantization.placement import Placement
from edgekit.quantization.twin import Fidelity, Grid, fidelity
from edgekit.quantization.weights import Weights

PASSES = 960  # images with a forward and a backward pass
MOST_MACS = 10**12  # of all passes together; networks larger than a MobileNet get fewer passes
FEWEST_PASSES = 160  # with fewer passes learning is skipped
BATCH = 8
TOGETHER = 4  # images in one pass; more do not fit into the caches
SAME = 1e-3  # largest relative difference of logits that only the order of additions explains
CHECKS = 6  # number of evaluations on the held-out photos
MOMENTUM, SQUARES = 0.9, 0.95
WARM_UP = 5  # batches
SHIFT = 0.25  # of the image's side, at most
MEASURED = 16  # images for the mean power of the compared values
SEED = 0
GENTLE = {**RATES, "code": 5e-4}  # codes that adaptive rounding chose are a good start


class Budget(Protocol):
    """How long to learn."""

    def spent(self, images: int) -> float:
        """The share that is spent after this number of images, 0 to 1."""
        ...


@dataclass(frozen=True)
class Images:
    """A budget of images; every run gives the same result."""

    count: int

    def spent(self, images: int) -> float:
        return min(1.0, images / self.count)


@dataclass(frozen=True)
class Seconds:
    """A budget of time, from now on."""

    total: float
    started: float = field(default_factory=time.monotonic)

    def spent(self, images: int) -> float:
        return min(1.0, (time.monotonic() - self.started) / self.total)


@dataclass(frozen=True)
class Learnt:
    """The best ``grids`` and ``weights`` after ``passes`` images. ``before`` and ``after`` are
    measured on the held-out photos.
    """

    grids: Mapping[str, Grid]
    weights: Weights
    passes: int
    before: Fidelity
    after: Fidelity


def passes_for(placement: Placement, most: int) -> int:
    """The number of images to learn from: at most ``most``, fewer for large networks to limit the
    time, 0 if too few would remain.
    """
    macs = sum(layer.macs for layer in placement.layers)
    affordable = MOST_MACS // max(macs, 1)
    return min(most, affordable) // BATCH * BATCH if affordable >= FEWEST_PASSES else 0


def learn(
    network: TorchGraph,
    placement: Placement,
    grids: Mapping[str, Grid],
    weights: Weights,
    widest: Mapping[str, float],
    images: Sequence[NDArray[np.float32]],
    held_out: Sequence[NDArray[np.float32]],
    reference: NDArray[np.float32],
    budget: Budget,
    *,
    codes: bool = False,
    progress: Progress = QUIET,
) -> Learnt:
    """Learns steps and biases, and with ``codes`` the codes of the weights.

    Args:
        network: the float network; must be differentiable.
        placement: the quantized values.
        grids: the initial grids of these values.
        weights: the rounded weights.
        widest: the largest allowed step of each value's grid.
        images: the images to learn from.
        held_out: other images, which decide the best state.
        reference: the float network's logits on ``held_out``.
        budget: how long to learn.
        progress: shows the share of the budget that is spent.
    """
    state = FakeQuantized(network, placement, grids, weights, widest, images[0], with_codes=codes)
    descent = Descent(state.parameters(GENTLE if codes else RATES))
    compared = (*(blocks(network) if codes else ()), network.output)
    power = _power(network, images[:: -(-len(images) // MEASURED)], compared)
    together = images_together(network, [*images[:1], *held_out[:1]])
    batches = _batches(images, np.random.default_rng(SEED))
    best = start = _look(state, held_out, reference, together)
    kept = grids, weights
    passes = looks = 0
    while budget.spent(passes) < 1:
        for part in torch.split(next(batches), together):
            error = _error(network, state, part, power) / BATCH
            error.backward()  # type: ignore[no-untyped-call]
        passes += BATCH
        share = budget.spent(passes)
        descent.move(min(1.0, passes / (WARM_UP * BATCH)) * (1 + cos(pi * share)) / 2)
        state.bound()
        if int(share * CHECKS) > looks:
            looks = int(share * CHECKS)
            found = _look(state, held_out, reference, together)
            if found.sqnr > best.sqnr:
                best, kept = found, state.taken()
        progress.advance(round(100 * share), 100, f"learned, {best.sqnr:.1f} dB")
    return Learnt(*kept, passes, start, best)


def blocks(network: TorchGraph) -> tuple[str, ...]:
    """The outputs of the residual blocks: the sums of two computed values."""
    return tuple(
        step.outputs[0]
        for step in network.steps
        if step.op_type == "Add" and not any(name in network.constants for name in step.inputs)
    )


def _power(
    network: TorchGraph, images: Sequence[NDArray[np.float32]], names: Sequence[str]
) -> dict[str, float]:
    """The mean square norm of each value over the images, in the order of ``names``."""
    sums = dict.fromkeys(names, 0.0)
    with torch.no_grad():
        for image in images:
            values = network.run(image, keep=names)
            sums = {name: sums[name] + float(values[name].square().sum()) for name in names}
    return {name: max(total / len(images), 1e-12) for name, total in sums.items()}


def _error(
    network: TorchGraph, state: FakeQuantized, images: Tensor, power: Mapping[str, float]
) -> Tensor:
    """The noise-to-signal ratio of the logits plus the mean one of the other values, summed over
    the images ``(N, C, H, W)``.

    ``power`` is the mean signal of each value, the logits last. The signal of a single image would
    give all weight to images with logits near zero, of which a network with two classes has many.
    """
    with torch.no_grad():
        wanted = network.run_batch(images, keep=tuple(power))
    found = state.run(images, tuple(power))
    ratios = [(found[name] - wanted[name]).square().sum() / power[name] for name in power]
    *inner, last = ratios
    return last if not inner else last + torch.stack(inner).mean()


class Descent:
    """Gradient descent: momentum, divided by the root mean square of each tensor's gradient."""

    def __init__(self, parameters: Sequence[tuple[Tensor, float]]) -> None:
        self._parameters = parameters
        self._means = [torch.zeros_like(tensor) for tensor, _ in parameters]
        self._squares = [0.0] * len(parameters)
        self._moves = 0

    def move(self, share: float) -> None:
        """Moves every parameter by ``share`` of its learning rate, and clears the gradients."""
        self._moves += 1
        with torch.no_grad():
            for i, (tensor, rate) in enumerate(self._parameters):
                if tensor.grad is None:
                    continue
                gradient = tensor.grad.nan_to_num(0.0, 0.0, 0.0)
                tensor.grad = None
                self._means[i].lerp_(gradient, 1 - MOMENTUM)
                self._squares[i] += (1 - SQUARES) * (
                    float(gradient.square().mean()) - self._squares[i]
                )
                size = (self._squares[i] / (1 - SQUARES**self._moves)) ** 0.5
                if size > 0:
                    tensor -= share * rate / (1 - MOMENTUM**self._moves) / size * self._means[i]


def images_together(network: TorchGraph, images: Sequence[NDArray[np.float32]]) -> int:
    """How many images run in one pass: 1 if the graph works with single images only, for example
    because it joins a constant class token to one image.
    """
    batch = torch.from_numpy(np.stack(images))
    with torch.no_grad():
        single = torch.cat([network.run_batch(image[None])[network.output] for image in batch])
        try:
            joint = network.run_batch(batch)[network.output]
        except BadNetwork:
            return 1
    same = joint.shape == single.shape and (joint - single).norm() <= SAME * single.norm()
    return TOGETHER if same else 1


def _look(
    state: FakeQuantized,
    images: Sequence[NDArray[np.float32]],
    reference: NDArray[np.float32],
    together: int,
) -> Fidelity:
    with torch.no_grad():
        parts = torch.split(torch.from_numpy(np.stack(images)), together)
        logits = [state.logits(part).flatten(1).numpy() for part in parts]
    return fidelity(reference, np.concatenate(logits))


def _batches(
    images: Sequence[NDArray[np.float32]], generator: np.random.Generator
) -> Iterator[Tensor]:
    """Yields batches ``(BATCH, C, H, W)`` of views forever."""
    several = views(images, generator)
    while True:
        yield torch.stack(list(islice(several, BATCH)))


def views(
    images: Sequence[NDArray[np.float32]], generator: np.random.Generator
) -> Iterator[Tensor]:
    """Yields views of the images ``(C, H, W)`` in random order, forever: each is shifted at random,
    with its edges reflected, and flipped left to right with probability 1/2. The views are not
    resized: a view that is less sharp than a photo has less noise to learn from.
    """
    while True:
        for i in generator.permutation(len(images)):
            yield _view(images[i], generator)


def _view(image: NDArray[np.float32], generator: np.random.Generator) -> Tensor:
    if image.ndim != 3:
        return torch.from_numpy(image)
    height, width = image.shape[1:]
    down, right = int(SHIFT * height), int(SHIFT * width)
    edges = (right, right, down, down)
    padded = F.pad(torch.from_numpy(image)[None], edges, mode="reflect")[0]
    top, left = generator.integers(0, 2 * down + 1), generator.integers(0, 2 * right + 1)
    moved = padded[:, top : top + height, left : left + width]
    return (moved.flip(-1) if generator.random() < 0.5 else moved).contiguous()
