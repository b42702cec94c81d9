"""``edgekit parity``: two sides on the same photos, each with its own preprocessing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from edgekit.advice import Advice
from edgekit.comparison import DEFAULT_GATES, Gate, GateChanges, compare
from edgekit.comparison.by_image import by_image, histogram
from edgekit.comparison.labelled import Labelled, best_classes, compare_labelled
from edgekit.comparison.metrics import of_two_classes, sqnr
from edgekit.errors import BadImage, EdgekitError, InputError
from edgekit.images import ImageFolder, InputSpec, normalized
from edgekit.images.labelled import open_labelled
from edgekit.machine.environment import describe
from edgekit.pipeline.reference import check_reference
from edgekit.progress import Progress, Quiet, Steps
from edgekit.reports.parity import InputParity, ParityReport
from edgekit.runtimes.base import Array, run_batches
from edgekit.tasks.blame import BlameRequest, find_blame
from edgekit.tasks.outputs import check_count
from edgekit.tasks.sessions import CPU
from edgekit.tasks.sides import Side, open_side, with_inputs

MAX_IMAGES = 1024
WORST = 10
INPUT_GATE = 60.0  # dB: preprocessing that differs by more than rounding


@dataclass(frozen=True)
class ParityRequest:
    """The two sides to compare, and how.

    ``images`` is a folder of photos, the bundled ones by default; ``labels`` are labelled images
    instead: a folder per class or a CSV file. At most ``count`` are read, spread evenly. ``mean``
    and ``std`` are for an ``.onnx`` file without preprocessing. ``runtime`` runs the candidate and
    ``reference_runtime`` the reference, if they are bundles or graphs. ``explain`` searches for the
    layer that breaks parity.
    """

    reference: str
    candidate: str
    images: Path | None = None
    labels: Path | None = None
    count: int = MAX_IMAGES
    gate: Gate | GateChanges = field(default_factory=GateChanges)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    runtime: str = CPU
    reference_runtime: str = CPU
    explain: bool = True


@dataclass(frozen=True)
class _Photos:
    source: str
    paths: tuple[Path, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...] | None


def find_parity(request: ParityRequest, progress: Progress | None = None) -> ParityReport:
    """Runs both sides and compares them.

    Raises:
        InputError: a side, the photos or their classes cannot be used, or the sides do not have the
            same classes.
        EnvironmentLacks: a runtime cannot run here.
    """
    check_count("count", request.count)
    step = Steps(progress or Quiet())
    with step("open"):
        sides = _open(request, step)
    reference, candidate = sides
    with step("reference"):
        known = _photos(request, reference, candidate)
        expected, first, photos, skipped = _run(reference, request.reference_runtime, known)
        check_reference(expected, reference.labels)
    with step("candidate"):
        reached, second, _, _ = _run(candidate, request.runtime, photos)
    if expected.shape != reached.shape:
        raise InputError(
            f"the reference has {expected.shape[1:]} outputs and the candidate {reached.shape[1:]}",
            hint="compare networks of the same classes",
        )
    outputs = compare(expected, reached)
    gate = request.gate.over(_default_gate(candidate))
    prepared = _compare_inputs(reference, candidate, first, second)
    failures = (*prepared.failures, *gate.failures(outputs))
    broken_by = None
    if failures:
        broken_by = "input" if prepared.failures else "outputs"
    advice = [Advice(note) for side in sides for note in side.notes]
    caveat = gate.caveat(outputs)
    advice += [] if caveat is None else [Advice(caveat)]
    advice += [Advice(f"image skipped: {reason}") for reason in skipped]
    if broken_by == "outputs" and request.explain:
        with step("layers"):
            layer, why = _layer(request)
        broken_by = f"outputs, at {layer}" if layer else broken_by
        advice += [Advice(f"the layer was not looked for: {why}")] if why else []
    classes = reference.labels or candidate.labels
    images = by_image(photos.names, expected, reached, classes)
    return ParityReport(
        reference=request.reference,
        candidate=request.candidate,
        runtime=request.runtime,
        images=len(photos.paths),
        source=photos.source,
        input=prepared,
        outputs=outputs,
        worst=images[:WORST],
        histogram=histogram(images),
        labelled=_labelled(expected, reached, photos.labels, classes),
        failures=failures,
        broken_by=broken_by,
        advice=tuple(advice),
        environment=describe(),
    )


def _open(request: ParityRequest, step: Steps) -> tuple[Side, Side]:
    """Opens both sides. A network gets the image size of the other side."""
    found: dict[int, Side] = {}
    size: tuple[int, int] | None = None
    names = (request.reference, request.candidate)
    for i in sorted((0, 1), key=lambda i: not Path(names[i]).exists()):
        found[i] = open_side(
            names[i], mean=request.mean, std=request.std, size=size, progress=step.fetched
        )
        spec = found[i].input
        size = (spec.height, spec.width) if spec is not None else None
    return with_inputs((found[0], found[1]))


def _default_gate(candidate: Side) -> Gate:
    """The default gate: that of the bundle, else that of FP32."""
    if candidate.bundle is None:
        return DEFAULT_GATES["fp32"]
    gate = candidate.bundle.manifest.gate
    return Gate(relative=gate.relative, sqnr=gate.sqnr, agreement=gate.agreement)


def _photos(request: ParityRequest, reference: Side, candidate: Side) -> _Photos:
    if request.labels is None:
        folder = ImageFolder.open(request.images) if request.images else ImageFolder.bundled()
        chosen = folder.spread(request.count)
        names = tuple(p.relative_to(chosen.root).as_posix() for p in chosen.paths)
        return _Photos(str(request.images or "bundled photos"), chosen.paths, names, None)
    if request.images is not None:
        raise InputError("`images` and `labels` both name photos", hint="give one of them")
    classes = reference.labels or candidate.labels
    if classes is None:
        raise InputError(
            "neither side has class names, so labels cannot be used",
            hint="give `labels` for a bundle with a labels.txt",
        )
    listed = open_labelled(request.labels, classes, len(classes))
    step = max(1, len(listed.paths) / request.count)
    kept = [int(i * step) for i in range(min(request.count, len(listed.paths)))]
    every = listed.names()
    return _Photos(
        str(request.labels),
        tuple(listed.paths[i] for i in kept),
        tuple(every[i] for i in kept),
        tuple(listed.labels[i] for i in kept),
    )


def _run(
    side: Side, runtime: str, photos: _Photos
) -> tuple[NDArray[np.float32], Array, _Photos, list[str]]:
    """The logits ``(N, classes)``, the first prepared images, the photos that could be read, and
    why the others could not.
    """
    kept: list[int] = []
    first: list[Array] = []
    skipped: list[str] = []

    def prepared() -> Iterator[Array]:
        for i, path in enumerate(photos.paths):
            try:
                pixels = side.prepare(path)
            except BadImage as error:
                skipped.append(_named(photos.names[i], path, error.message))
                continue
            kept.append(i)
            if len(first) < WORST:
                first.append(pixels)
            yield pixels

    with TemporaryDirectory() as scratch, side.open(runtime, Path(scratch)) as session:
        images = prepared()
        head = next(images, None)
        if head is None:
            raise BadImage(f"none of {len(photos.paths)} images can be read: {skipped[0]}")
        outputs = run_batches(session, chain([head], images))
    labels = photos.labels
    readable = replace(
        photos,
        paths=tuple(photos.paths[i] for i in kept),
        names=tuple(photos.names[i] for i in kept),
        labels=None if labels is None else tuple(labels[i] for i in kept),
    )
    return outputs, np.stack(first), readable, skipped


def _named(name: str, path: Path, message: str) -> str:
    """A message about a photo, with the folder of the photo: many classes have a ``1.jpg``."""
    return f"{name}: {message.removeprefix(f'{path.name}: ')}"


def _compare_inputs(reference: Side, candidate: Side, a: Array, b: Array) -> InputParity:
    assert reference.input is not None and candidate.input is not None
    a, b = normalized(a, reference.input), normalized(b, candidate.input)
    specs = (_words(reference.input), _words(candidate.input))
    if a.shape != b.shape:
        why = f"the sides take images of {specs[0]} and of {specs[1]}"
        return InputParity(*specs, False, None, None, (why,))
    error = a.astype(np.float64) - b
    ratio = sqnr(float(np.square(a, dtype=np.float64).sum()), float(np.square(error).sum()))
    failures: tuple[str, ...] = ()
    if ratio < INPUT_GATE:
        failures = (
            f"the sides prepare the same photo differently: SQNR {ratio:.1f} dB is under "
            f"{INPUT_GATE:g} dB; {specs[0]} against {specs[1]}",
        )
    return InputParity(*specs, True, ratio, float(np.abs(error).max()), failures)


def _words(spec: InputSpec) -> str:
    means, stds = (",".join(f"{x:.4g}" for x in values) for values in (spec.mean, spec.std))
    return (
        f"{spec.height}×{spec.width} {spec.interpolation}, resized by {spec.resize:.4g}, mean "
        f"{means}, std {stds}"
    )


def _labelled(
    expected: NDArray[np.float32],
    reached: NDArray[np.float32],
    labels: Sequence[int] | None,
    classes: Sequence[str] | None,
) -> Labelled | None:
    if labels is None:
        return None
    wanted, found = of_two_classes(expected, reached)
    return compare_labelled(best_classes(wanted), best_classes(found), labels, classes)


def _layer(request: ParityRequest) -> tuple[str | None, str | None]:
    """The layer that adds most error or overflows first; or why none could be found."""
    try:
        found = find_blame(
            BlameRequest(
                request.reference,
                request.candidate,
                request.images,
                request.mean,
                request.std,
                runtime=request.runtime,
            ),
            Quiet(),
        )
    except EdgekitError as error:
        return None, error.message
    if found.nonfinite is not None:
        return found.nonfinite.name, None
    return (found.worst.name if found.worst else None), None
