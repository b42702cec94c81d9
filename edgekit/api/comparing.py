"""Parity of two networks, and accuracy on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.api.arguments import folder_of, gate_of, name_of, numbers_of, path_of
from edgekit.bundle.folder import Bundle
from edgekit.comparison import Gate, GateChanges
from edgekit.progress import Progress
from edgekit.reports.parity import ParityReport
from edgekit.tasks.evaluate import Evaluation, EvaluationRequest
from edgekit.tasks.evaluate import evaluate as count
from edgekit.tasks.parity import MAX_IMAGES, ParityRequest, find_parity


def parity(
    reference: Bundle | Path | str,
    candidate: Bundle | Path | str,
    *,
    images: Path | str | None = None,
    labels: Path | str | None = None,
    count: int = MAX_IMAGES,
    gate: Gate | GateChanges | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    runtime: str = "onnxruntime",
    reference_runtime: str = "onnxruntime",
    explain: bool = True,
    progress: Progress | None = None,
) -> ParityReport:
    """Runs two sides on the same photos, each with its own preprocessing, and compares the outputs.

    Args:
        reference: the correct side: a bundle, an engine in a bundle, an ``.onnx`` file, or the
            name of a network as for :func:`edgekit.export`.
        candidate: the side to check: the same kinds.
        images: a folder of photos; the bundled photos by default.
        labels: labelled photos instead: a folder per class, or a CSV file.
        count: the most photos to run, spread evenly over the folder.
        gate: the gate of the outputs; by default that of the bundle, else that of FP32.
        mean: for an ``.onnx`` file without preprocessing, one number per channel.
        std: the same for the standard deviation.
        runtime: runs the candidate if it is a bundle or an ``.onnx`` file.
        reference_runtime: the same for the reference.
        explain: whether to search for the layer that breaks parity.
        progress: called for each step.

    Returns:
        The report; ``ok`` is True if the gate is met, ``broken_by`` is the cause if not.

    Raises:
        InputError: a side, the photos or their classes cannot be used.
        EnvironmentLacks: a runtime cannot run here.
    """
    request = ParityRequest(
        name_of(reference),
        name_of(candidate),
        path_of(images),
        path_of(labels),
        count,
        gate_of(gate),
        numbers_of(mean),
        numbers_of(std),
        runtime,
        reference_runtime,
        explain,
    )
    return find_parity(request, progress)


def evaluate(
    bundle: Bundle | Path | str,
    data: Path | str,
    *,
    runtime: str = "onnxruntime",
    reference: Bundle | Path | str | None = None,
    answers: Path | str | None = None,
    images: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measures top-1 and top-5 of a bundle on any number of labelled images.

    Args:
        bundle: what to evaluate.
        data: a folder with one subfolder for each class (ImageNet's WordNet ids, the class names
            of the bundle, or class numbers), or a CSV file with the columns file and label.
        runtime: what runs the bundle.
        reference: another bundle, ``.onnx`` or network to compare with on the same images, by
            McNemar's paired test.
        answers: a file for each result; a stopped run continues from it.
        images: the most images to use, spread evenly.
        progress: called for each image.

    Raises:
        InputError: the data cannot be used, or ``answers`` belongs to another run.
        BadBundle: the bundle is damaged.
        EnvironmentLacks: the runtime cannot run here.
    """
    request = EvaluationRequest(
        folder_of(bundle),
        Path(data),
        runtime,
        None if reference is None else name_of(reference),
        path_of(answers),
        images,
    )
    return count(request, progress)
