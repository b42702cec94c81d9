"""The progress and the results of a training; readable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Epoch:
    """One line of the log. ``loss`` is the mean over the epoch, ``validation_loss`` and
    ``validation_top1`` are those of the weights for export.
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
    """Is called with the progress of the training."""

    def stepped(self, epoch: int, done: int, total: int, loss: float) -> None: ...
    def finished(self, epoch: Epoch, best: bool) -> None: ...


@dataclass(frozen=True)
class QatEpoch:
    """The accuracy of the fake-quantized network on the validation images after ``epoch`` epochs;
    epoch 0 is post-training quantization.
    """

    epoch: int
    loss: float | None
    validation_top1: float
    seconds: float


@dataclass(frozen=True)
class Qat:
    """``float_top1``, ``before`` and ``after`` are from the validation images, which also chose the
    epoch. ``sqnr`` (dB) compares the exported INT8 graph in ONNX Runtime with the trained network.
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
