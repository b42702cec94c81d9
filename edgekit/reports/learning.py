"""The learning curves of a run: as pictures of a report, and as one page in one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.reports.svg import COLOURS, inline, new_figure, plotting
from edgekit.sources.learning import Learning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECTION = "training"
STYLE = Path(__file__).parent / "page" / "report.css"
WIDTH, HEIGHT = 6.5, 3.2  # inches
MARKED = 60  # epochs; a curve of more has no dots
COLUMNS = ("epoch", "size", "learning rate", "loss", "validation loss", "top-1, %", "seconds")

Line = tuple[str, Sequence[float], Sequence[float], str]  # name, steps, values, colour
LearningSketch = tuple[str, str, str, "Figure", tuple[str, ...], tuple[tuple[str, ...], ...]]


def sketch_learning(trainings: Mapping[str, Learning]) -> Iterator[LearningSketch]:
    """Two charts per training, loss and top-1, with its epochs as a table."""
    for name, learning in trainings.items():
        for title, unit, lines in curves(learning):
            yield (
                SECTION,
                f"{name}: {title[:1].lower()}{title[1:]}",
                f"{described(lines)}. {learning.result[:1].upper()}{learning.result[1:]}.",
                draw(unit, lines),
                COLUMNS,
                epoch_rows(learning),
            )


def learning_page(name: str, learning: Learning) -> str:
    """A page with the curves of a run.

    Raises:
        ImportError: Matplotlib is not installed.
    """
    with plotting():
        figures = "".join(
            f"<figure>{inline(draw(unit, lines), f'curve{i}', title, described(lines))}</figure>"
            for i, (title, unit, lines) in enumerate(curves(learning))
        )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(name)}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main><h1>{escape(name)}</h1><p>{escape(learning.result)}</p>{figures}</main>"
        "</body></html>\n"
    )


def epoch_rows(learning: Learning) -> tuple[tuple[str, ...], ...]:
    """One row per epoch, with the titles of :data:`COLUMNS`."""
    return tuple(
        (
            str(epoch.epoch + 1),
            str(epoch.size),
            f"{epoch.rate:.2g}",
            f"{epoch.loss:.3f}",
            f"{epoch.validation_loss:.3f}",
            f"{100 * epoch.validation_top1:.2f}",
            f"{epoch.seconds:.0f}",
        )
        for epoch in learning.epochs
    )


def curves(learning: Learning) -> tuple[tuple[str, str, tuple[Line, ...]], ...]:
    """Title, unit and lines of the two pictures."""
    steps, losses = ([point[i] for point in learning.losses] for i in (0, 1))
    at = [epoch.step for epoch in learning.epochs]
    top1 = [100 * epoch.validation_top1 for epoch in learning.epochs]
    validation = [epoch.validation_loss for epoch in learning.epochs]
    both: tuple[Line, ...] = (
        ("training", steps, losses, "muted"),
        ("validation", at, validation, "accent"),
    )
    return (
        ("Loss", "loss", both),
        ("Top-1 on the validation images", "%", (("validation", at, top1, "accent"),)),
    )


def described(lines: Sequence[Line]) -> str:
    """The first and last values in words."""
    return "; ".join(
        f"{name}: {values[0]:.3g} at first, {values[-1]:.3g} at the end"
        for name, _, values, _ in lines
        if values
    )


def draw(unit: str, lines: Sequence[Line]) -> Figure:
    """The lines over the steps of the training."""
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.add_subplot()
    for name, steps, values, colour in lines:
        marker = "o" if len(steps) < MARKED and colour == "accent" else None
        axes.plot(steps, values, color=COLOURS[colour], label=name, marker=marker, markersize=3)
    axes.set_xlabel("step")
    axes.set_ylabel(unit)
    axes.grid(axis="y")
    if len(lines) > 1:
        axes.legend(frameon=False)
    return figure
