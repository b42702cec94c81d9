"""Learns the steps and biases of the whole int8 network together, by gradient descent.

The search chooses each range and rounds each layer separately. But rounding errors interact: after
a ReLU noise has a nonzero mean, and the means of many channels add up. Gradient descent brings the
logits of the int8 network close to those of the float network. It changes the step of every
activation grid, the step of every weight channel and every bias; the int8 codes of the weights
stay. These are few parameters, so a few dozen photos with random crops do not cause overfitting.
The best state on held-out photos is kept, which may be the initial one.

The learned parameter is the logarithm of a step. Gradients use the straight-through estimator.
Momentum is divided by the root mean square of the tensor's gradient, so that one learning rate
works for all networks.

Sources: Esser et al., "Learned Step Size Quantization", ICLR 2020, arXiv:1902.08153 (the gradient
of a step); Li et al., "BRECQ", ICLR 2021, arXiv:2102.05426, and Wei et al., "QDrop", ICLR 2022,
arXiv:2203.05740 (activation steps learned on a few photos against the float network; they also
learn the codes, block by block); Finkelstein et al., "Fighting Quantization Bias With Bias",
arXiv:1906.03193 (biases alone).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import cos, pi

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.fake import FakeQuantized
from edgekit.quantization.placement import Placement
from edgekit.quantization.twin import Fidelity, Grid, fidelity
from edgekit.quantization.weights import Weights

PASSES = 960  # images with a forward and a backward pass
MOST_MACS = 10**12  # of all passes together; networks larger than a MobileNet get fewer passes
FEWEST_PASSES = 160  # with fewer passes learning is skipped
BATCH = 8
CHECKS = 6  # number of evaluations on the held-out photos
MOMENTUM, SQUARES = 0.9, 0.95
WARM_UP = 5  # batches
SMALLEST_CROP = 0.5  # part of the image's area
SEED = 0


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
    *,
    passes: int,
) -> Learnt:
    """Learns steps and biases. The result is deterministic on one machine.

    Args:
        network: the float network; must be differentiable. placement: the quantized values. grids:
        the initial grids of these values. weights: the rounded weights. Their codes do not change.
        widest: the largest allowed step of each value's grid. images: the images to learn from.
        held_out: other images, which decide the best state. reference: the float network's logits
        on ``held_out``. passes: the number of images to learn from, a multiple of ``BATCH``.
    """
    state = FakeQuantized(network, placement, grids, weights, widest, images[0])
    descent = Descent(state.parameters)
    views = _views(images, np.random.default_rng(SEED))
    best = start = _look(state, held_out, reference)
    kept = grids, weights
    batches = passes // BATCH
    looks = {batches * (i + 1) // CHECKS for i in range(CHECKS)}
    for batch in range(1, batches + 1):
        for _ in range(BATCH):
            view = next(views)
            with torch.no_grad():
                wanted = network.run(view)[network.output]
            error = (state.logits(view) - wanted).square().sum() / wanted.square().sum().clamp_min(
                1e-12
            )
            error.backward()  # type: ignore[no-untyped-call]
        descent.move(min(1.0, batch / WARM_UP) * (1 + cos(pi * batch / batches)) / 2)
        state.bound()
        if batch in looks and (found := _look(state, held_out, reference)).sqnr > best.sqnr:
            best, kept = found, state.taken()
    return Learnt(*kept, passes, start, best)


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


def _look(
    state: FakeQuantized, images: Sequence[NDArray[np.float32]], reference: NDArray[np.float32]
) -> Fidelity:
    with torch.no_grad():
        return fidelity(
            reference,
            np.stack(
                [state.logits(torch.from_numpy(image)).reshape(-1).numpy() for image in images]
            ),
        )


def _views(
    images: Sequence[NDArray[np.float32]], generator: np.random.Generator
) -> Iterator[Tensor]:
    """Yields the images forever in random order, each randomly cropped, resized to its full size,
    and flipped left to right with probability 1/2.
    """
    while True:
        for i in generator.permutation(len(images)):
            yield _view(images[i], generator)


def _view(image: NDArray[np.float32], generator: np.random.Generator) -> Tensor:
    if image.ndim != 3:
        return torch.from_numpy(image)
    height, width = image.shape[1:]
    side = generator.uniform(SMALLEST_CROP, 1.0) ** 0.5
    rows, columns = max(1, int(height * side)), max(1, int(width * side))
    top, left = generator.integers(0, height - rows + 1), generator.integers(0, width - columns + 1)
    part = torch.from_numpy(np.ascontiguousarray(image[:, top : top + rows, left : left + columns]))
    whole = F.interpolate(part[None], (height, width), mode="bilinear", align_corners=False)[0]
    return whole.flip(-1) if generator.random() < 0.5 else whole
