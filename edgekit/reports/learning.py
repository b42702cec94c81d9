"""The learning curves of a run as one page in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from edgekit.reports.svg import COLOURS, inline, new_figure, plotting

STYLE = Path(__file__).parent / "page" / "report.css"
WIDTH, HEIGHT = 6.5, 3.2  # inches

Line = tuple[str, Sequence[float], Sequence[float], str]  # name, steps, values, colour


def learning_page(name: str, log: Sequence[Mapping[str, Any]]) -> str:
    """A page with the curves of the log: losses, and top-1 on the validation images.

    Args:
        name: the title of the page.
        log: lines of steps (``step``, ``loss``) and of epochs (``validation_top1`` and others).

    Raises:
        ImportError: Matplotlib is not installed.
    """
    epochs = [line for line in log if "validation_top1" in line]
    steps = [line for line in log if "validation_top1" not in line]
    at = [line["step"] for line in epochs]
    losses: list[Line] = [
        ("each step", [s["step"] for s in steps], [s["loss"] for s in steps], "muted"),
        ("validation", at, [line["validation_loss"] for line in epochs], "accent"),
    ]
    top1: list[Line] = [
        ("validation", at, [100 * line["validation_top1"] for line in epochs], "accent")
    ]
    best = max(epochs, key=lambda line: line["validation_top1"], default=None)
    told = "no epoch is finished" if best is None else _told(best, len(epochs))
    pictures = [
        _picture("loss", "Loss", "loss", losses),
        _picture("top1", "Top-1 on the validation images", "%", top1),
    ]
    figures = "".join(f"<figure>{picture}</figure>" for picture in pictures)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(name)}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main><h1>{escape(name)}</h1><p>{escape(told)}</p>{figures}</main></body></html>\n"
    )


def _told(best: Mapping[str, Any], epochs: int) -> str:
    return (
        f"best top-1 {best['validation_top1']:.1%} after epoch {best['epoch'] + 1} of {epochs}, "
        "on the validation images, which also chose the epoch"
    )


def _picture(key: str, title: str, unit: str, lines: Sequence[Line]) -> str:
    with plotting():
        figure = new_figure(WIDTH, HEIGHT)
        axes = figure.add_subplot()
        for name, steps, values, colour in lines:
            marker = "o" if len(steps) < 60 and colour == "accent" else None
            axes.plot(steps, values, color=COLOURS[colour], label=name, marker=marker, markersize=3)
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        axes.grid(axis="y")
        if len(lines) > 1:
            axes.legend(frameon=False)
        described = "; ".join(
            f"{name}: {values[0]:.3g} at first, {values[-1]:.3g} at the end"
            for name, _, values, _ in lines
            if values
        )
        return inline(figure, key, title, described)
