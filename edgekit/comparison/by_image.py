"""Parity image by image: the images that differ most, and the distribution of the differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.comparison.labelled import best_classes, class_names
from edgekit.comparison.metrics import of_two_classes, sqnr

BIN = 5.0  # dB
HIGHEST = 120.0  # dB: what is beyond, exact outputs included, is in the last bin


@dataclass(frozen=True)
class ImageParity:
    """One image. ``sqnr`` is in dB over its outputs; ``margin`` is the difference between the
    reference's two best logits. The classes are numbers, -1 if no output is finite; ``names`` are
    those of the two, None if the classes have no names.
    """

    image: str
    sqnr: float
    max_abs: float
    reference: int
    candidate: int
    margin: float
    names: tuple[str, ...] | None = None

    @property
    def flipped(self) -> bool:
        return self.reference != self.candidate


@dataclass(frozen=True)
class Histogram:
    """The number of images with an SQNR from ``edges[i]`` to ``edges[i + 1]`` dB. The first bin
    also has the images below it, the last bin those above it.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


def by_image(
    names: Sequence[str],
    reference: NDArray[np.float32],
    candidate: NDArray[np.float32],
    classes: Sequence[str] | None = None,
) -> tuple[ImageParity, ...]:
    """Compares the logits ``(N, classes)`` of the images with these names. The worst come first:
    images with outputs that are not finite, then by SQNR. ``classes`` are the names of the classes.
    """
    found = []
    logits = reference.astype(np.float64), candidate.astype(np.float64)
    for name, a, b, wanted, reached in zip(names, *logits, *of_two_classes(*logits), strict=True):
        finite = bool(np.isfinite(b).all())
        error = np.abs(a - b)
        order = np.sort(wanted)
        first = int(wanted.argmax()), int(best_classes(reached[None], 1)[0, 0])
        found.append(
            ImageParity(
                name,
                sqnr(float((a**2).sum()), float((error**2).sum())) if finite else float("-inf"),
                float(error.max()) if finite else float("inf"),
                *first,
                float(order[-1] - order[-2]),
                class_names(classes, first),
            )
        )
    return tuple(sorted(found, key=lambda each: each.sqnr))


def histogram(images: Sequence[ImageParity]) -> Histogram:
    """The SQNR of the images in bins of 5 dB, without empty bins at both ends."""
    values = np.clip([each.sqnr for each in images], 0.0, HIGHEST - BIN / 2)
    places = (values // BIN).astype(int)
    low, high = int(places.min()), int(places.max())
    counts = np.bincount(places - low, minlength=high - low + 1)
    return Histogram(
        tuple(BIN * i for i in range(low, high + 2)), tuple(int(count) for count in counts)
    )
