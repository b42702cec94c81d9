"""Prints the reports of a parity run and of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from rich.console import Group
from rich.text import Text

from edgekit.comparison.by_image import BIN, HIGHEST
from edgekit.comparison.labelled import Accuracy, Labelled, Share
from edgekit.reports.parity import ParityReport
from edgekit.reports.table import parity_cells

BAR = 30  # characters


def render(report: ParityReport) -> Group:
    """Input, outputs, the images that differ most, the distribution, and what breaks parity."""
    sqnr, max_abs, agreement = parity_cells(report.outputs)
    exact = report.outputs.sqnr == inf
    difference = "the same" if exact else f"SQNR {sqnr} dB, max-abs {max_abs}"
    lines = [
        Text(f"{report.candidate} against {report.reference}, {report.images} images", "bold"),
        Text(f"  input    {_input(report)}"),
        Text(f"  outputs  {difference}, top-1 agreement {agreement}"),
        Text(),
    ]
    differing = [image for image in report.worst if image.sqnr != inf]
    if differing:
        lines += [Text("images by SQNR", "bold"), *_histogram(report), Text()]
    none = "" if differing else ": none"
    lines.append(Text(f"images that differ most{none}", "bold"))
    for image in differing:
        first = _classes((image.reference, image.candidate), image.names)
        change = f"  class {first[0]} → {first[1]}" if image.flipped else ""
        sqnr = "not finite" if image.sqnr == -inf else f"{image.sqnr:7.1f} dB"
        lines.append(Text(f"  {sqnr}  {image.image}{change}"))
    if report.labelled is not None:
        lines += [Text(), *map(Text, labelled_lines(report.labelled))]
    if report.broken_by is not None:
        lines += [Text(), Text(f"parity is broken by: {report.broken_by}", "red")]
    for advice in report.advice:
        lines.append(Text.assemble(("! ", "yellow"), advice.message))
    return Group(*lines)


def labelled_lines(labelled: Labelled) -> list[str]:
    """Top-1 and top-5 of both, the paired test, and the classes that changed most."""
    test = labelled.mcnemar
    lines = [
        f"reference  {accuracy_line(labelled.reference)}",
        f"candidate  {accuracy_line(labelled.candidate)}",
        f"points of top-1 lost: {labelled.lost:+.2f}; McNemar's test: "
        f"{_images(test.only_reference)} right in the reference alone, "
        f"{test.only_candidate} in the candidate alone, p = {test.p:.3g}",
    ]
    for each in labelled.confusions[:5]:
        label, before, after = _classes((each.label, each.reference, each.candidate), each.names)
        lines.append(f"  class {label}: {before} became {after} on {_images(each.images)}")
    return lines


def _images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"


def _classes(numbers: Sequence[int], names: Sequence[str] | None) -> list[str]:
    """Class numbers with the names of the classes, if they have any."""
    if names is None:
        return [str(number) for number in numbers]
    return [f"{number} {name}" for number, name in zip(numbers, names, strict=True)]


def accuracy_line(accuracy: Accuracy) -> str:
    return f"top-1 {_share(accuracy.top1)}, top-5 {_share(accuracy.top5)}"


def _share(share: Share) -> str:
    low, high = share.interval
    return f"{share.value:.2%} ({share.count}/{share.of}) [{100 * low:.2f}, {100 * high:.2f}]"


def _input(report: ParityReport) -> str:
    found = report.input
    if not found.same_shape or found.sqnr is None:
        return "of different sizes"
    exact = found.max_abs == 0
    return "the same" if exact else f"SQNR {found.sqnr:.1f} dB, max-abs {found.max_abs:.2e}"


def _histogram(report: ParityReport) -> list[Text]:
    counts, edges = report.histogram.counts, report.histogram.edges
    most = max(counts)
    return [
        Text(f"  {_bin(edges[i])} dB  {'█' * round(BAR * count / most):<{BAR}}  {count}")
        for i, count in enumerate(counts)
    ]


def _bin(edge: float) -> str:
    """The first bin also has the images below it, the last one those above it."""
    if edge == 0:
        return f"< {BIN:g}".rjust(5)
    return f"≥ {edge:g}".rjust(5) if edge + BIN == HIGHEST else f"{edge:5.0f}"
