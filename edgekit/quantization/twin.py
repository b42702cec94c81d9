"""Simulates the int8 network in PyTorch with fake quantization: the same rounding as the written
graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.comparison.metrics import of_two_classes, sqnr
from edgekit.quantization.execute import Hook, Step, TorchGraph

QMIN, QMAX = -128, 127
LEVELS = 256


@dataclass(frozen=True)
class Grid:
    """The representable numbers of an activation: ``scale`` × (-128 … 127), or ``scale`` × (0 …
    255) if ``centred``.

    A centred grid is still written as symmetric int8: 128 × ``scale`` is subtracted from the
    producer's bias and compensated in the consumers' biases.
    """

    scale: float
    centred: bool = False

    @property
    def codes(self) -> tuple[int, int]:
        """The lowest and the highest multiple of ``scale``."""
        return (0, LEVELS - 1) if self.centred else (QMIN, QMAX)

    @property
    def high(self) -> float:
        """The largest number on the grid."""
        return self.scale * self.codes[1]

    def round(self, x: Tensor) -> Tensor:
        """Rounds to the nearest numbers on the grid, ties to even. The gradient is 1 inside the
        grid and 0 outside.
        """
        return torch.fake_quantize_per_tensor_affine(x, self.scale, 0, *self.codes)


@dataclass(frozen=True)
class ChannelGrid:
    """One grid per channel. It is equivalent to one grid for all channels after the channels are
    scaled.

    ``limits`` are the largest magnitudes per channel (axis 1); ``levels`` is the number of steps up
    to them.
    """

    limits: Tensor
    levels: int

    def round(self, x: Tensor) -> Tensor:
        step = (self.limits / self.levels).reshape(-1, *[1] * (x.ndim - 2))
        return (x / step).round().clamp(-self.levels - 1, self.levels) * step


@dataclass(frozen=True)
class Fidelity:
    """How close logits are to the reference logits.

    ``sqnr`` is signal power over error power in dB. ``agreement`` is the share of images with the
    same first class, 0 to 1. It is coarse on a few dozen images, so ``expected`` estimates it from
    the margins: the mean probability that Gaussian logit errors, of the size measured on each
    image, do not change its first class. ``deviation`` is the standard error of ``expected``.
    """

    sqnr: float
    agreement: float
    expected: float
    deviation: float

    def __str__(self) -> str:
        return (
            f"{self.sqnr:.1f} dB, agreement {self.agreement:.3f}, expected {self.expected:.3f} "
            f"± {self.deviation:.3f}"
        )


RIVALS = 5  # next classes that could become the first one


def fidelity(reference: NDArray[np.float32], logits: NDArray[np.float32]) -> Fidelity:
    """Compares logits ``(N, classes)``. A NaN or infinite logit gives the worst value of every
    measure.
    """
    if not np.isfinite(logits).all():
        return Fidelity(float("-inf"), 0.0, 0.0, 0.0)
    wide = reference.astype(np.float64)
    errors = logits - wide
    reached = sqnr(float(np.square(wide).sum()), float(np.square(errors).sum()))
    wanted, found = of_two_classes(wide, logits.astype(np.float64))
    keeps = _chance_to_keep(wanted, found - wanted)
    agreement = float((wanted.argmax(1) == found.argmax(1)).mean())
    return Fidelity(
        reached, agreement, float(keeps.mean()), float(keeps.std() / np.sqrt(len(keeps)))
    )


def _chance_to_keep(
    reference: NDArray[np.float64], errors: NDArray[np.float64]
) -> NDArray[np.float64]:
    """For each image, the probability that its first class stays first."""
    count = min(RIVALS + 1, reference.shape[1])
    ordered = -np.sort(-reference, axis=1)[:, :count]
    margins = ordered[:, :1] - ordered[:, 1:]
    spread = errors.std(1, keepdims=True) * np.sqrt(2)
    ahead = np.divide(margins, spread, out=np.full_like(margins, np.inf), where=spread > 0)
    normal = np.vectorize(lambda z: 0.5 * (1 + erf(z / sqrt(2))), otypes=[np.float64])
    return np.asarray(normal(ahead).prod(1) if count > 1 else np.ones(len(reference)))


def rounding_hook(edges: Mapping[tuple[str, int], str], grids: Mapping[str, Grid]) -> Hook:
    """A hook that rounds every input in ``edges`` to the grid of its value, once for all consumers.
    Use a new hook for each run.
    """
    done: dict[str, Tensor] = {}

    def hook(step: Step, position: int, tensor: Tensor) -> Tensor:
        value = edges.get((step.name, position))
        grid = grids.get(value) if value is not None else None
        if value is None or grid is None:
            return tensor
        if value not in done:
            done[value] = grid.round(tensor)
        return done[value]

    return hook


def logits_of(
    network: TorchGraph,
    images: Iterable[NDArray[np.float32]],
    edges: Mapping[tuple[str, int], str] | None = None,
    grids: Mapping[str, Grid] | None = None,
) -> NDArray[np.float32]:
    """The logits ``(N, classes)`` of a network. Activations in ``edges`` are rounded to ``grids``
    if given; the weights are those in ``network.constants``.
    """
    rows = []
    with torch.inference_mode():
        for image in images:
            hook = rounding_hook(edges, grids) if edges is not None and grids is not None else None
            rows.append(network.run(image, hook)[network.output].reshape(-1).numpy())
    return np.stack(rows).astype(np.float32)
