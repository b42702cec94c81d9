"""What training tells while it goes on and when it ends; readable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Epoch:
    """One line of the log. ``loss`` is the mean over the epoch, ``validation_loss`` and
    ``validation_top1`` those of the weights that would be kept.
    """

    epoch: int
    step: int
    size: int
    rate: float
    loss: float
    validation_loss: float
    validation_top1: float
    images: int
    seconds: float
    skipped: int


class Watcher(Protocol):
    """Is told how training goes."""

    def stepped(self, epoch: int, done: int, total: int, loss: float) -> None: ...
    def finished(self, epoch: Epoch, best: bool) -> None: ...


@dataclass(frozen=True)
class QatEpoch:
    """Accuracy on the images that validate, of the fake-quantized network, after ``epoch`` epochs;
    0 is as post-training quantization left it.
    """

    epoch: int
    loss: float | None
    validation_top1: float
    seconds: float


@dataclass(frozen=True)
class Qat:
    """``float_top1``, ``before`` and ``after`` are of the images that validate, which chose the
    epoch; ``sqnr`` (dB) compares the exported int8 graph in ONNX Runtime with the network that was
    trained.
    """

    path: Path
    network: str
    images: int
    float_top1: float
    before: float
    after: float
    best: int
    epochs: tuple[QatEpoch, ...]
    sqnr: float
    skipped: Mapping[str, str]
    seconds: float
