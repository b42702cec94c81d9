"""Learning curves for TensorBoard, if it is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.training.records import Epoch

FOLDER = "tensorboard"


class Board:
    """Writes events. Without TensorBoard it does nothing.

    Args:
        folder: of the run.
        step: later events are from a stopped run and are not shown.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._writer = SummaryWriter(str(folder / FOLDER), purge_step=step + 1)

    def losses(self, lines: Sequence[Mapping[str, Any]]) -> None:
        if self._writer is not None:
            for line in lines:
                self._writer.add_scalar("loss/step", line["loss"], line["step"])

    def epoch(self, epoch: Epoch) -> None:
        if self._writer is None:
            return
        for tag, value in (
            ("loss/train", epoch.loss),
            ("loss/validation", epoch.validation_loss),
            ("top1/validation", epoch.validation_top1),
            ("rate", epoch.rate),
            ("size", epoch.size),
        ):
            self._writer.add_scalar(tag, value, epoch.step)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
