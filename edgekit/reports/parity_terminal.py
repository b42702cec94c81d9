"""Prints the reports of a parity run and of an evaluation."""

from __future__ import annotations

from rich.console import Group
from rich.text import Text

from edgekit.comparison.labelled import Accuracy, Labelled, Share
from edgekit.reports.parity import ParityReport
from edgekit.reports.table import parity_cells

BAR = 30  # characters


def render(report: ParityReport) -> Group:
    """Input, outputs, the images that differ most, the distribution, and what breaks parity."""
    sqnr, max_abs, agreement = parity_cells(report.outputs)
    lines = [
        Text(f"{report.candidate} against {report.reference}, {report.images} images", "bold"),
        Text(f"  input    {_input(report)}"),
        Text(f"  outputs  SQNR {sqnr} dB, max-abs {max_abs}, top-1 agreement {agreement}"),
        Text(),
        Text("images by SQNR", "bold"),
        *_histogram(report),
        Text(),
        Text("images that differ most", "bold"),
    ]
    for image in report.worst:
        change = f"class {image.reference} → {image.candidate}" if image.flipped else ""
        lines.append(Text(f"  {image.sqnr:7.1f} dB  {image.image}  {change}"))
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
        f"points of top-1 lost: {labelled.lost:+.2f}; McNemar's test: {test.only_reference} images "
        f"right in the reference alone, {test.only_candidate} in the candidate alone, "
        f"p = {test.p:.3g}",
    ]
    for each in labelled.confusions[:5]:
        change = f"{each.reference} became {each.candidate}"
        lines.append(f"  class {each.label}: {change} on {each.images} images")
    return lines


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
        Text(f"  {edges[i]:5.0f} dB  {'█' * round(BAR * count / most):<{BAR}}  {count}")
        for i, count in enumerate(counts)
    ]
