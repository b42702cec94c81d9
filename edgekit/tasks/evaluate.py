"""``edgekit evaluate``: top-1 and top-5 of a bundle on any number of labelled images. Each answer
is written to a file, so that a stopped run can continue.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgekit.artifact import sha256_of
from edgekit.bundle import Bundle
from edgekit.comparison.labelled import (
    Accuracy,
    Labelled,
    accuracy,
    best_classes,
    compare_labelled,
)
from edgekit.comparison.metrics import as_classes
from edgekit.errors import BadImage, InputError
from edgekit.files import no_file, text_of
from edgekit.images.labelled import LabelledImages, open_labelled
from edgekit.progress import Progress, Quiet, Steps
from edgekit.reports.plain import plain
from edgekit.runtimes.base import Array, Session, batch_of, run_batches
from edgekit.tasks.outputs import check_count, check_outputs
from edgekit.tasks.sessions import CPU
from edgekit.tasks.sides import Side, open_side
from edgekit.version import __version__

SCHEMA = 1


@dataclass(frozen=True)
class EvaluationRequest:
    """``data`` is a folder with one subfolder per class, or a CSV file of files and labels.
    ``reference`` is another bundle or network to compare with on the same images. ``answers`` is
    the file to write answers to and to resume from. ``count`` is the most images to use, spread
    evenly.
    """

    bundle: Path
    data: Path
    runtime: str = CPU
    reference: str | None = None
    answers: Path | None = None
    count: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """``accuracy`` is that of the bundle; ``compared`` is the comparison with the reference, if one
    was given. ``resumed`` is the number of images from an earlier run. ``skipped`` has the reason
    for each image that could not be read.
    """

    bundle: str
    runtime: str
    data: str
    images: int
    accuracy: Accuracy
    reference: str | None
    compared: Labelled | None
    resumed: int
    skipped: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The evaluation as json types; keys are stable."""
        found: dict[str, Any] = {"schema_version": SCHEMA, **plain(self)}
        for name in ("top1", "top5"):
            share = getattr(self.accuracy, name)
            found["accuracy"][name] |= {"value": share.value, "interval": list(share.interval)}
        if self.compared is not None:
            found["compared"] |= {"p": self.compared.mcnemar.p, "points_lost": self.compared.lost}
        return found


def evaluate(request: EvaluationRequest, progress: Progress | None = None) -> Evaluation:
    """Classifies all images, and counts the correct ones.

    Raises:
        BadBundle: the bundle is damaged.
        InputError: the data is missing, has a class that the bundle does not have, or the file of
            answers belongs to another run, cannot be written or is inside a bundle; or no image is
            to be used.
        EnvironmentLacks: the runtime cannot run here.
    """
    step = Steps(progress or Quiet())
    if request.count is not None:
        check_count("images", request.count)
    if request.answers is not None:
        check_outputs({"answers": request.answers})
    bundle = Bundle.open(request.bundle)
    bundle.check_exported()
    labels, output = bundle.labels(), bundle.manifest.output
    probabilities = output.kind == "probabilities"
    images = open_labelled(request.data, labels, output.names)
    names, chosen = images.names(), _spread(images, request.count)
    with _Answers(request.answers, _key(request, bundle)) as answers, ExitStack() as stack:
        done = answers.read(_sides(request), output.names)
        waiting = [i for i in chosen if names[i] not in done]
        with step("evaluate"):
            sides = [open_side(str(request.bundle))] if waiting else []
            if waiting and request.reference is not None:
                sides.append(open_side(request.reference, progress=step.fetched))
            sessions = [(s, stack.enter_context(s.open(request.runtime))) for s in sides]
            skipped: dict[str, str] = {}
            at_once = max((batch_of(session.inputs[0]) for _, session in sessions), default=1)
            for start in range(0, len(waiting), at_once):
                several = waiting[start : start + at_once]
                read, unread = _prepared(sides, [images.paths[i] for i in several])
                skipped |= {names[several[at]]: reason for at, reason in unread.items()}
                best = [
                    _best(session, [images[n] for images in read.values()], probabilities)
                    for n, (_, session) in enumerate(sessions)
                ]
                for row, at in enumerate(read):
                    found = [side[row] for side in best]
                    done[names[several[at]]] = found
                    answers.add(names[several[at]], found)
                step.progress.advance(start + len(several), len(waiting))
    answered = [i for i in chosen if names[i] in done]
    if not answered:
        raise BadImage(f"none of {len(chosen)} images can be read: {next(iter(skipped.values()))}")
    truth = np.array([images.labels[i] for i in answered])
    table = [_padded([done[names[i]][side] for i in answered]) for side in range(_sides(request))]
    return Evaluation(
        str(request.bundle),
        request.runtime,
        str(request.data),
        len(answered),
        accuracy(table[0], truth),
        request.reference,
        compare_labelled(table[1], table[0], truth, labels) if len(table) == 2 else None,
        len(chosen) - len(waiting),
        skipped,
    )


def _sides(request: EvaluationRequest) -> int:
    return 1 if request.reference is None else 2


def _spread(images: LabelledImages, count: int | None) -> list[int]:
    total = len(images.paths)
    if count is None or count >= total:
        return list(range(total))
    return [int(i * total / count) for i in range(count)]


def _prepared(
    sides: Sequence[Side], photos: Sequence[Path]
) -> tuple[dict[int, list[Array]], dict[int, str]]:
    """By place, the photos as each side takes them, and why the others cannot be read."""
    read: dict[int, list[Array]] = {}
    unread: dict[int, str] = {}
    for place, photo in enumerate(photos):
        try:
            read[place] = [side.prepare(photo) for side in sides]
        except BadImage as error:
            unread[place] = text_of(error.message)
    return read, unread


def _best(session: Session, photos: Sequence[Array], probabilities: bool) -> list[list[int]]:
    """The best five classes of each photo. A single output is read as the bundle's is."""
    if not photos:
        return []
    outputs = as_classes(run_batches(session, photos), probabilities)
    return [[int(i) for i in row] for row in best_classes(outputs)]


def _padded(rows: list[list[int]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Rows of five classes, filled with -1, which is no class, for networks with fewer classes."""
    return np.array([[*row, *[-1] * (5 - len(row))] for row in rows], np.int64)


def _key(request: EvaluationRequest, bundle: Bundle) -> dict[str, Any]:
    """Identifies the run that answers belong to."""
    return {
        "edgekit": __version__,
        "schema_version": SCHEMA,
        "graph": bundle.cpu_artifact.sha256 if request.runtime == CPU else bundle.artifact.sha256,
        "runtime": request.runtime,
        "data": str(request.data.absolute()),
        "reference": request.reference,
        "reference_graph": _hash_of(request.reference),
    }


def _hash_of(reference: str | None) -> str | None:
    """The hash of a reference that is a bundle, a graph, an engine or a Python file; None for a
    network that is known by its name.
    """
    if reference is None:
        return None
    if Path(reference).is_dir():
        return Bundle.open(reference).artifact.sha256
    file = Path(reference.rpartition(":")[0] if ".py:" in reference else reference)
    return None if no_file(file) else sha256_of(file)


class _Answers:
    """A file with one json document per line: first the run, then one per image."""

    def __init__(self, path: Path | None, key: dict[str, Any]) -> None:
        self._path, self._key = path, key
        self._file: BinaryIO | None = None

    def __enter__(self) -> _Answers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, sides: int, classes: int) -> dict[str, list[list[int]]]:
        """Reads the existing answers of ``sides`` networks, and opens the file for more.

        Raises:
            InputError: the file belongs to another run, is damaged, or is something else; it does
                not change.
        """
        if self._path is None:
            return {}
        if not self._path.exists() or not self._path.stat().st_size:
            self._file = self._path.open("wb")
            self._write(self._key)
            return {}
        lines, end = _whole_lines(self._path)
        if not lines or lines[0] != self._key:
            raise InputError(
                f"{self._path} holds answers of another run, or something else",
                hint="name another file, or remove it",
            )
        for number, line in enumerate(lines[1:], 2):
            if not _is_answer(line, sides, classes):
                raise _damaged(self._path, number)
        self._file = self._path.open("r+b")
        self._file.truncate(end)
        self._file.seek(end)
        return {line["image"]: line["best"] for line in lines[1:]}

    def add(self, image: str, best: list[list[int]]) -> None:
        self._write({"image": text_of(image), "best": best})

    def _write(self, line: object) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()


def _whole_lines(path: Path) -> tuple[list[Any], int]:
    """The complete lines, and their end in bytes. A killed run may leave an incomplete last line.

    Raises:
        InputError: another line is not JSON.
    """
    lines: list[Any] = []
    end = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                lines.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                if not lines:
                    break
                raise _damaged(path, len(lines) + 1) from error
            end += len(line)
    return lines, end


def _is_answer(line: object, sides: int, classes: int) -> bool:
    """Whether a line has an image and its best one to five classes by each side."""
    if not isinstance(line, dict) or not isinstance(line.get("image"), str):
        return False
    best = line.get("best")
    return (
        isinstance(best, list)
        and len(best) == sides
        and all(
            isinstance(row, list)
            and 1 <= len(row) <= 5
            and all(type(i) is int and 0 <= i < classes for i in row)
            for row in best
        )
    )


def _damaged(path: Path, line: int) -> InputError:
    return InputError(f"line {line} of {path} is damaged", hint="name another file, or remove it")
