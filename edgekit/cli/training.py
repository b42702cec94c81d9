"""Training on a terminal: its progress and its results."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.cli.console import err, escape, out

if TYPE_CHECKING:
    from edgekit.training.records import Epoch, Qat
    from edgekit.training.run import Training

LISTED = 5


class Shown:
    """Shows each finished epoch on stderr, and on a terminal a bar for the running one. If the
    training is interrupted, it shows how the ``run`` is continued.
    """

    def __init__(self, run: Path | None, *, quiet: bool) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._run = run
        self._quiet = quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
            console=err,
            disable=quiet or not err.is_terminal,
            transient=True,
        )
        self._task: Any = None

    def __enter__(self) -> None:
        self._bar.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)
        from edgekit.sources.run import is_run

        if self._run is not None and isinstance(error[1], KeyboardInterrupt) and is_run(self._run):
            run = escape(shlex.quote(str(self._run)))
            err.print(f"to continue: edgekit train --resume {run}", style="dim")

    def stepped(self, epoch: int, done: int, total: int, loss: float) -> None:
        """Moves the bar."""
        if self._task is None:
            self._task = self._bar.add_task("", total=total, loss="")
        self._bar.update(
            self._task,
            description=f"epoch {epoch + 1}",
            completed=done,
            total=total,
            loss=f"loss {loss:.3f}",
        )

    def finished(self, epoch: Epoch, best: bool) -> None:
        """Prints the epoch."""
        if self._quiet:
            return
        err.print(
            f"epoch {epoch.epoch + 1}: loss {epoch.loss:.3f}, validation loss "
            f"{epoch.validation_loss:.3f}, top-1 {epoch.validation_top1:.1%}"
            f"{' (best)' if best else ''}, {epoch.seconds:.0f} s"
        )


def tell(found: Training) -> None:
    """Prints the result of a training."""
    from edgekit.comparison.metrics import wilson

    right = round(found.top1 * found.validation_images)
    low, high = wilson(right, found.validation_images)
    out.print(
        f"{escape(str(found.path))}  {escape(found.network)}, {found.classes} classes, "
        f"{found.train_images} training images, {found.validation_images} validation images"
    )
    out.print(
        f"top-1 {found.top1:.1%} [{100 * low:.1f}, {100 * high:.1f}] on the validation images, "
        f"after epoch {found.best['epoch'] + 1} of {len(found.epochs)}"
    )
    if found.early:
        err.print("[yellow]![/] stopped early: no improvement for `patience` epochs")
    _tell_skipped(found.skipped)
    err.print(f"next: edgekit export {escape(shlex.quote(str(found.path)))} --int8", style="dim")


def tell_int8(found: Qat) -> None:
    """Prints the result of a quantization-aware training."""
    out.print(
        f"{escape(str(found.path))}  {escape(found.network)} in INT8, {found.images} training "
        "images"
    )
    out.print(
        f"top-1 on the validation images: float {found.float_top1:.1%}, INT8 before training "
        f"{found.before:.1%}, after {found.after:.1%} (epoch {found.best} of "
        f"{len(found.epochs) - 1})"
    )
    out.print(
        f"SQNR of the INT8 graph in ONNX Runtime against the trained network: {found.sqnr:.1f} dB"
    )
    if found.best == 0:
        err.print(
            "[yellow]![/] no epoch was better than post-training quantization, so its "
            "result is kept"
        )
    _tell_skipped(found.skipped)
    err.print(f"next: edgekit export {escape(shlex.quote(str(found.path)))} --int8", style="dim")


def _tell_skipped(skipped: Mapping[str, str]) -> None:
    for path, reason in list(skipped.items())[:LISTED]:
        err.print(f"[yellow]![/] {escape(Path(path).name)} is skipped: {escape(reason)}")
    if len(skipped) > LISTED:
        err.print(f"[yellow]![/] {len(skipped) - LISTED} more images are skipped")
