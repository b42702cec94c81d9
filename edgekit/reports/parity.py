"""The report of a parity run: the differences of two sides, image by image, and the rung that
breaks parity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgekit.advice import Advice
from edgekit.comparison import Parity
from edgekit.comparison.by_image import Histogram, ImageParity
from edgekit.comparison.labelled import Labelled
from edgekit.machine.environment import Environment
from edgekit.reports.plain import plain

SCHEMA = 1


@dataclass(frozen=True)
class InputParity:
    """The difference of the photos as the two sides prepare them. ``same_shape`` is False if the
    sizes differ; then ``sqnr`` (dB) and ``max_abs`` are None.
    """

    reference: str
    candidate: str
    same_shape: bool
    sqnr: float | None
    max_abs: float | None
    failures: tuple[str, ...]


@dataclass(frozen=True)
class ParityReport:
    """``input`` compares the preprocessed images, ``outputs`` the logits on all of them.

    ``worst`` lists the images that differ most, ``histogram`` counts all by their SQNR;
    ``labelled`` is given if the images' classes are known. ``broken_by`` names the first rung that
    fails, ``input`` or ``outputs``, and the layer if one was found.
    """

    reference: str
    candidate: str
    runtime: str
    images: int
    source: str
    input: InputParity
    outputs: Parity
    worst: tuple[ImageParity, ...]
    histogram: Histogram
    labelled: Labelled | None
    failures: tuple[str, ...]
    broken_by: str | None
    advice: tuple[Advice, ...]
    environment: Environment

    @property
    def ok(self) -> bool:
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        """The whole report as json types; keys are stable."""
        found: dict[str, Any] = {"schema_version": SCHEMA, **plain(self), "ok": self.ok}
        found["outputs"]["top1_interval"] = list(self.outputs.interval)
        if self.labelled is not None:
            found["labelled"] |= {"p": self.labelled.mcnemar.p, "points_lost": self.labelled.lost}
        return found
