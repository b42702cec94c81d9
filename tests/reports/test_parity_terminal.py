"""What `edgekit parity` prints of images and classes."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from math import inf

import numpy as np
import pytest
from rich.console import Console

from edgekit.comparison import compare
from edgekit.comparison.by_image import by_image, histogram
from edgekit.comparison.labelled import best_classes, compare_labelled
from edgekit.machine.environment import describe
from edgekit.reports.parity import InputParity, ParityReport
from edgekit.reports.parity_terminal import render

CLASSES = ("cat", "dog", "fox", "owl", "bee", "ant")


@dataclass(frozen=True)
class Shown:
    report: ParityReport

    @property
    def text(self) -> str:
        stream = io.StringIO()
        Console(file=stream, width=100).print(render(self.report))
        return stream.getvalue()


def shown(candidate: np.ndarray, classes: tuple[str, ...] | None = CLASSES) -> Shown:
    """A report of four images, whose classes in the reference are 0 to 3."""
    reference = np.eye(4, 6, dtype=np.float32) * 10
    images = by_image("abcd", reference, candidate, classes)
    labelled = compare_labelled(best_classes(reference), best_classes(candidate), range(4), classes)
    return Shown(
        ParityReport(
            reference="r",
            candidate="c",
            runtime="onnxruntime",
            images=4,
            source="photos",
            input=InputParity("i", "i", True, inf, 0.0, ()),
            outputs=compare(reference, candidate),
            worst=images,
            histogram=histogram(images),
            labelled=labelled,
            failures=(),
            broken_by=None,
            advice=(),
            environment=describe(),
        )
    )


def changed() -> np.ndarray:
    candidate = np.eye(4, 6, dtype=np.float32) * 10
    candidate[1] = [0, 0, 0, 12, 0, 0]  # a dog becomes an owl
    candidate[2, 0] = np.nan
    return candidate


def test_without_a_difference_no_image_is_listed() -> None:
    text = shown(np.eye(4, 6, dtype=np.float32) * 10).text
    assert "outputs  the same, top-1 agreement 100.0%" in text
    assert "images that differ most: none" in text
    assert "inf" not in text and "exact" not in text and "images by SQNR" not in text


def test_only_images_that_differ_are_listed_with_the_names_of_their_classes() -> None:
    text = shown(changed()).text
    assert "  not finite  c" in text
    assert "b  class 1 dog → 3 owl" in text
    assert "dB  a" not in text and "dB  d" not in text
    assert "class 1 dog: 1 dog became 3 owl on 1 image\n" in text
    assert "McNemar's test: 1 image right in the reference alone" in text


def test_classes_without_names_are_numbers() -> None:
    text = shown(changed(), None).text
    assert "b  class 1 → 3\n" in text and "class 1: 1 became 3 on 1 image\n" in text


@pytest.mark.parametrize(("at", "label"), [(0, "< 5 dB"), (-1, "≥ 115 dB")])
def test_the_outer_bins_say_what_else_they_hold(at: int, label: str) -> None:
    text = shown(changed()).text
    bins = [line for line in text.splitlines() if "█" in line]
    assert label in bins[at]


def test_the_report_as_json_has_the_names() -> None:
    report = replace(shown(changed()).report, environment=describe())
    document = report.to_json()
    assert document["worst"][1]["names"] == ["dog", "owl"]
    assert document["labelled"]["confusions"][0]["names"] == ["dog", "dog", "owl"]
