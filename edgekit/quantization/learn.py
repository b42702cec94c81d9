"""Steps and biases learnt together: what rounding one layer costs is known only behind the layers
that read it.

Ranges are searched value by value and weights rounded layer by layer, each as if it were alone. But
rounding errors meet: behind a ReLU noise has a mean, and the means of many channels add up
coherently. Here the whole int8 network is brought near the float one by gradients: the step of
every activation's grid, the step of every channel of the weights and every bias, while the int8
codes of the weights stay. These are few numbers, so that a few dozen photos teach them without
being learnt by heart; random crops of the photos make them more. What is kept is the best seen on
other photos, the start included.

The step of a tensor is learnt by its logarithm. The gradient is that of the straight-through
estimator, and momentum is divided by the root mean square of the tensor's own gradient, so that one
rate serves networks of every scale.

Sources: Esser et al., "Learned Step Size Quantization", ICLR 2020, arXiv:1902.08153 (the gradient
of a step); Li et al., "BRECQ", ICLR 2021, arXiv:2102.05426, and Wei et al., "QDrop", ICLR 2022,
arXiv:2203.05740 (activation steps learnt on a few photos against the float network; they go block
by block and learn the codes too); Finkelstein et al., "Fighting Quantization Bias With Bias",
arXiv:1906.03193 (biases alone).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import cos, exp, log, pi
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edgekit.quantization.execute import Step, TorchGraph
from edgekit.quantization.placement import Placement
from edgekit.quantization.twin import Fidelity, Grid, fidelity
from edgekit.quantization.weights import Weights

PASSES = 960  # images through the network and back
MOST_MACS = 10**12  # of all passes together: a network larger than a MobileNet gets fewer
FEWEST_PASSES = 160  # below, nothing is learnt
BATCH = 8
CHECKS = 6  # looks at the choosing photos
RATES = {
    "range": 1e-3,
    "weight": 5e-4,
    "bias": 5e-4,
}  # of a logarithm, of a logarithm, of the deviation of the layer's output
MOMENTUM, SQUARES = 0.9, 0.95
WARM_UP = 5  # batches
SMALLEST_CROP = 0.5  # of the area
SEED = 0


@dataclass(frozen=True)
class Learnt:
    """``grids`` and ``weights`` to go on with, after ``passes`` images; ``before`` and ``after``
    are on the choosing photos.
    """

    grids: Mapping[str, Grid]
    weights: Weights
    passes: int
    before: Fidelity
    after: Fidelity


def passes_for(placement: Placement, most: int) -> int:
    """How many images, up to ``most``, a network may learn from in the time there is; 0 where its
    size leaves too few.
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
    """Learns steps and biases, the same for the same seed on the same machine.

    Args:
        network: in float, differentiable.
        placement: what is read as int8.
        grids: of its values, to begin with.
        weights: rounded; their codes stay.
        widest: by value, the largest step that its grid may get.
        images: to learn from.
        held_out: other images, on which the best state is chosen.
        reference: the float network's logits on ``held_out``.
        passes: images to learn from, a multiple of ``BATCH``.
    """
    state = _State(network, placement, grids, weights, widest, images[0])
    descent = _Descent(state.parameters)
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


class _State:
    """The int8 network as a function of what is learnt: logarithms of steps against the first, and
    shifts of biases.
    """

    def __init__(
        self,
        network: TorchGraph,
        placement: Placement,
        grids: Mapping[str, Grid],
        weights: Weights,
        widest: Mapping[str, float],
        image: NDArray[np.float32],
    ) -> None:
        self._network, self._placement, self._grids, self._weights = (
            network,
            placement,
            grids,
            weights,
        )
        groups = dict.fromkeys(placement.ties[value] for value in placement.values)
        self._ranges = {group: torch.zeros((), requires_grad=True) for group in groups}
        self._room = {
            group: min(
                log(widest[value] / grids[value].scale)
                for value in placement.values
                if placement.ties[value] == group
            )
            for group in groups
        }
        layers = placement.quantized
        with torch.no_grad():
            outputs = network.run(image, keep=[layer.output for layer in layers])
        self._codes = {
            layer.name: torch.from_numpy(weights.rounded[layer.name].dequantized())
            for layer in layers
        }
        self._gains = {
            layer.name: torch.zeros(
                _by_channel(self._codes[layer.name], layer.channel_axis), requires_grad=True
            )
            for layer in layers
        }
        first = {
            layer.name: torch.from_numpy(weights.biases[layer.name])
            if layer.name in weights.biases
            else network.constants[layer.bias]
            for layer in layers
            if layer.bias is not None
        }
        self._biases = first
        self._shifts = {
            name: torch.zeros_like(bias).requires_grad_() for name, bias in first.items()
        }
        self._units = {
            layer.name: float(outputs[layer.output].std())
            for layer in layers
            if layer.name in first
        }

    @property
    def parameters(self) -> list[tuple[Tensor, float]]:
        """Every learnt tensor and its rate."""
        kinds = ((self._ranges, "range"), (self._gains, "weight"), (self._shifts, "bias"))
        return [(tensor, RATES[kind]) for tensors, kind in kinds for tensor in tensors.values()]

    def logits(self, image: Tensor) -> Tensor:
        before = self._network.constants
        try:
            self._network.constants = self._constants()
            return self._network.run(image, self._hook())[self._network.output]
        finally:
            self._network.constants = before

    def bound(self) -> None:
        """Takes grids back that grew wider than they may."""
        with torch.no_grad():
            for group, logarithm in self._ranges.items():
                logarithm.clamp_(max=self._room[group])

    def taken(self) -> tuple[dict[str, Grid], Weights]:
        """The grids and weights as they are now."""
        grids = {
            value: replace(
                grid,
                scale=float(
                    np.float32(
                        grid.scale * exp(float(self._ranges[self._placement.ties[value]].detach()))
                    )
                ),
            )
            for value, grid in self._grids.items()
        }
        rounded = {
            name: replace(
                weight,
                scales=(
                    weight.scales * self._gains[name].detach().exp().reshape(-1).numpy()
                ).astype(np.float32),
            )
            for name, weight in self._weights.rounded.items()
        }
        biases = {name: bias.detach().numpy() for name, bias in self._moved_biases().items()}
        return grids, replace(
            self._weights, rounded=rounded, biases={**self._weights.biases, **biases}
        )

    def _constants(self) -> dict[str, Tensor]:
        constants, biases = dict(self._network.constants), self._moved_biases()
        for layer in self._placement.quantized:
            constants[layer.weight] = self._codes[layer.name] * self._gains[layer.name].exp()
            if layer.bias is not None:
                constants[layer.bias] = biases[layer.name]
        return constants

    def _moved_biases(self) -> dict[str, Tensor]:
        return {
            name: bias + self._units[name] * self._shifts[name]
            for name, bias in self._biases.items()
        }

    def _hook(self) -> Any:
        done: dict[str, Tensor] = {}

        def hook(step: Step, position: int, tensor: Tensor) -> Tensor:
            value = self._placement.edges.get((step.name, position))
            if value is None:
                return tensor
            if value not in done:
                grid = self._grids[value]
                scale = grid.scale * self._ranges[self._placement.ties[value]].exp()
                done[value] = _Round.apply(tensor, scale, grid)  # type: ignore[no-untyped-call]
            return done[value]

        return hook


class _Round(torch.autograd.Function):
    """Rounding onto a grid, and the gradient of its step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, grid: Grid) -> Tensor:
        rounded = replace(grid, scale=float(scale)).round(x)
        ctx.save_for_backward(x, scale, rounded)
        ctx.codes = grid.codes
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, scale, rounded = ctx.saved_tensors
        low, high = ctx.codes
        inside = gradient * ((x >= (low - 0.5) * scale) & (x <= (high + 0.5) * scale))
        return inside, ((gradient * rounded).sum() - (inside * x).sum()) / scale, None


class _Descent:
    """Momentum, divided by the root mean square of the gradient over a whole tensor."""

    def __init__(self, parameters: Sequence[tuple[Tensor, float]]) -> None:
        self._parameters = parameters
        self._means = [torch.zeros_like(tensor) for tensor, _ in parameters]
        self._squares = [0.0] * len(parameters)
        self._moves = 0

    def move(self, share: float) -> None:
        """Moves every parameter by ``share`` of its rate, and forgets the gradients."""
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
    state: _State, images: Sequence[NDArray[np.float32]], reference: NDArray[np.float32]
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
    """The images in random order, again and again, each as a random part of it brought back to its
    size and turned left to right or not.
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


def _by_channel(weight: Tensor, axis: int) -> list[int]:
    return [size if d == axis else 1 for d, size in enumerate(weight.shape)]
