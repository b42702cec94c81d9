"""The learning curves of a run of training, from its log; readable without torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edgekit.errors import InputError

LOG = "log.jsonl"
POINTS = 400  # of the curve of the loss; more cannot be seen


@dataclass(frozen=True)
class LearntEpoch:
    """A finished epoch, after ``step`` steps in total. ``loss`` is the mean of its steps,
    ``validation_loss`` and ``validation_top1`` (0 … 1) are of the weights for the export.
    """

    epoch: int
    step: int
    size: int
    rate: float
    loss: float
    validation_loss: float
    validation_top1: float
    seconds: float


@dataclass(frozen=True)
class Learning:
    """The curves of a training. ``losses`` are (step, mean loss since the point before);
    ``planned`` is the number of epochs that the run was started with.
    """

    network: str
    classes: int
    train_images: int
    validation_images: int
    planned: int
    losses: tuple[tuple[int, float], ...]
    epochs: tuple[LearntEpoch, ...]

    @property
    def best(self) -> LearntEpoch | None:
        """The epoch whose weights were saved: the first one with the highest top-1."""
        return max(self.epochs, key=lambda epoch: epoch.validation_top1, default=None)

    @property
    def result(self) -> str:
        """The best epoch in words."""
        if self.best is None:
            return "no epoch is finished"
        return (
            f"best top-1 {self.best.validation_top1:.1%} after epoch {self.best.epoch + 1} of "
            f"{len(self.epochs)}, on the validation images, which also chose the epoch"
        )


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The complete lines of a run's log.

    Raises:
        InputError: a line is something else than one of a log.
    """
    path = folder / LOG
    found: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_bytes().splitlines():
            try:
                entry = json.loads(line)
            except RecursionError:
                entry = None
            except ValueError:
                continue
            if not isinstance(entry, dict):
                raise InputError(
                    f"{path} is damaged: {line[:40]!r} is not a line of a log", hint="train again"
                )
            found.append(entry)
    return found


def epochs_of(log: Sequence[Mapping[str, Any]]) -> tuple[LearntEpoch, ...]:
    """The finished epochs of a log."""
    kinds: dict[str, Any] = {
        each.name: int if each.type == "int" else float for each in fields(LearntEpoch)
    }
    finished: list[dict[str, Any]] = [
        {name: kind(line[name]) for name, kind in kinds.items()}
        for line in log
        if "validation_top1" in line
    ]
    return tuple(LearntEpoch(**values) for values in finished)


def losses_of(log: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, float], ...]:
    """The losses of the steps of a log, as means of groups of steps if there are many."""
    steps = [line for line in log if "validation_top1" not in line]
    group = max(1, math.ceil(len(steps) / POINTS))
    parts = [steps[start : start + group] for start in range(0, len(steps), group)]
    return tuple(
        (int(part[-1]["step"]), math.fsum(line["loss"] for line in part) / len(part))
        for part in parts
    )
