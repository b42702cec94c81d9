"""Classifies photos with a bundle. Needs the base install and one runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.bundle import Bundle
from edgekit.comparison.metrics import as_classes
from edgekit.errors import InputError
from edgekit.images import open_image, preprocess
from edgekit.runtimes.base import SessionOptions
from edgekit.tasks.sessions import CPU, open_session, scores


@dataclass(frozen=True)
class Guess:
    index: int
    name: str | None
    probability: float


@dataclass(frozen=True)
class Classified:
    photo: Path
    classes: tuple[Guess, ...]


def classify(
    bundle: Bundle, photos: Sequence[Path], top: int = 5, runtime: str = CPU
) -> list[Classified]:
    """The ``top`` most likely classes of each photo, best first, computed by the named runtime.

    Raises:
        BadImage: a photo cannot be read; then nothing is classified.
        BadBundle: a file differs from the export, or the labels do not fit the graph.
        InputError: the runtime is unknown, or ``top`` is below 1.
        EnvironmentLacks: the runtime cannot run here.
    """
    if top < 1:
        raise InputError(f"invalid value for `top`: {top}", hint="give 1 or more")
    bundle.check_exported()
    if not photos:
        return []
    spec, labels = bundle.manifest.input.spec(), bundle.labels()
    pixels = np.stack(
        [preprocess(open_image(photo, channels=spec.channels), spec) for photo in photos]
    )
    with open_session(bundle, runtime, SessionOptions()) as session:
        outputs = scores(session, pixels, bundle.manifest.output.classes)
    shares = _shares(outputs, bundle.manifest.output.kind == "probabilities")
    results = []
    for photo, row in zip(photos, shares, strict=True):
        best = np.argsort(-row, kind="stable")[:top]
        results.append(
            Classified(
                photo,
                tuple(Guess(int(i), labels[i] if labels else None, float(row[i])) for i in best),
            )
        )
    return results


def _shares(outputs: NDArray[np.float32], probabilities: bool) -> NDArray[Any]:
    """The probabilities of all classes ``(N, classes)``; of both classes for a single output."""
    if not probabilities:
        return softmax(as_classes(outputs, probabilities))
    return outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Converts logits ``(N, classes)`` to probabilities."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return shares
