"""The images of a training and their classes, from folders or a CSV file, and their split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import InputError
from edgekit.images.folders import SUFFIXES
from edgekit.images.labelled import LabelledImages, class_names, open_labelled
from edgekit.sources import read_labels
from edgekit.sources.run import read_examples

TRAIN = ("train", "training")
VALIDATION = ("val", "valid", "validation")
TEST = "test"  # never read
SHARE = 0.15  # of each class, for validation
HINT = "give a folder with one subfolder per class, or a CSV file with the columns file and label"
LISTED = 4


@dataclass(frozen=True)
class Examples:
    """Images and their class numbers."""

    root: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class TrainingData:
    """``classes`` are the names, in the order of the outputs."""

    classes: tuple[str, ...]
    train: Examples
    validation: Examples


def open_data(
    data: Path,
    *,
    validation: Path | None = None,
    share: float = SHARE,
    labels: Path | None = None,
    seed: int = 0,
) -> TrainingData:
    """Lists the images and splits them.

    Args:
        data: a folder with one subfolder per class, a folder with two such folders ``train`` and
            ``val``, or a CSV file.
        validation: the validation images, in a form of ``data``; by default those in ``val``, else
            ``share`` of each class, drawn with ``seed``.
        share: the share of each class for validation, if no validation images are given.
        labels: a file of class names, in the order of the classes; by default they are sorted.
        seed: draws the split.

    Raises:
        InputError: the data is missing, there are fewer than two classes, a class has no images,
            training and validation have different classes or the same images, or a label is not a
            class.
    """
    root, given = _given_split(data)
    validation = validation or given
    names = read_labels(labels) if labels is not None else class_names(root)
    check_classes(root, names)
    train = open_labelled(root, names, len(names))
    _check_filled(root, names, train.labels)
    if validation is None:
        return TrainingData(names, *_split(train, share, seed, root))
    theirs = class_names(validation)
    if labels is None and set(theirs) != set(names):
        only = [*_only("training", names, theirs), *_only("validation", theirs, names)]
        raise InputError(
            f"the classes of training and validation differ: {'; '.join(only)}",
            hint="give both the same class names",
        )
    held_out = open_labelled(validation, names, len(names))
    _check_apart(train, held_out)
    return TrainingData(names, _examples(train), _examples(held_out))


def _check_apart(train: LabelledImages, held_out: LabelledImages) -> None:
    """
    Raises:
        InputError: an image is in both parts, so its top-1 would say nothing about new images.
    """
    ours = set(_real(train.paths))
    both = [str(path) for path in _real(held_out.paths) if path in ours]
    if both:
        raise InputError(
            f"{len(both)} of the images are for training and for validation: {_listed(both)}",
            hint="give other images for validation, or a share",
        )


def _real(paths: Sequence[Path]) -> list[Path]:
    """The paths without symbolic links and ``..``. Each folder is resolved only once."""
    folders = {folder: folder.resolve() for folder in {path.parent for path in paths}}
    return [
        path.resolve() if path.is_symlink() else folders[path.parent] / path.name for path in paths
    ]


def data_of_run(folder: Path, classes: tuple[str, ...], root: Path) -> TrainingData:
    """The images of a run, split as they were at its start.

    Raises:
        InputError: their list is damaged.
    """
    train, validation = (
        Examples(root, tuple(paths), tuple(labels))
        for paths, labels in read_examples(folder).values()
    )
    return TrainingData(classes, train, validation)


def _given_split(data: Path) -> tuple[Path, Path | None]:
    """The folders of training and validation images, if there are both. Hidden folders do not
    count.

    Raises:
        InputError: there are other folders beside them.
    """
    if not data.is_dir():
        return data, None
    names = {
        path.name.casefold(): path
        for path in data.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    }
    train = next((names[name] for name in TRAIN if name in names), None)
    held_out = next((names[name] for name in VALIDATION if name in names), None)
    others = sorted(set(names) - {*TRAIN, *VALIDATION, TEST})
    if train is not None and held_out is not None and others:
        raise InputError(
            f"{data} has training and validation images, but also {_listed(others)}",
            hint=f"move the other folders away, or give {train} and {held_out} separately",
        )
    if train is None or len(names) < 2 or others:
        return data, None
    return train, held_out


def check_classes(root: Path, names: Sequence[str]) -> None:
    if len(names) < 2:
        what = f"only the class {names[0]!r}" if names else "no class"
        raise InputError(f"{root} has {what}; a classifier needs two or more", hint=HINT)
    lines = (name.encode(errors="ignore").decode().splitlines() for name in names)
    odd = next((name for name, line in zip(names, lines, strict=True) if line != [name]), None)
    if odd is not None:
        raise InputError(
            f"{root}: {odd!r} cannot be the name of a class",
            hint="give each image a class whose name is one line of UTF-8",
        )
    repeated = [name for name, count in Counter(map(str.casefold, names)).items() if count > 1]
    if repeated:
        raise InputError(
            f"two classes have the name {repeated[0]!r}", hint="give each class its own name"
        )


def _check_filled(root: Path, names: Sequence[str], labels: Sequence[int]) -> None:
    seen = set(labels)
    empty = [name for i, name in enumerate(names) if i not in seen]
    if empty:
        raise InputError(
            f"{root}: no images of {_listed(empty)}",
            hint=f"add images, or remove the class; known suffixes: {', '.join(sorted(SUFFIXES))}",
        )


def _split(
    images: LabelledImages, share: float, seed: int, data: Path
) -> tuple[Examples, Examples]:
    """In each class, the images with the lowest hashes of their names are for validation: at least
    one, but never the only one. A file that is listed several times is one image; if it has several
    classes, it is for training. ``data`` is the folder or CSV file, for messages.
    """
    names = images.names()
    same: dict[Path, list[int]] = {}
    for i, path in enumerate(_real(images.paths)):
        same.setdefault(path, []).append(i)
    order = sorted(
        same.values(),
        key=lambda places: hashlib.sha256(
            f"{seed} {names[places[0]]}".encode(errors="surrogateescape")
        ).digest(),
    )
    left = {
        label: min(max(1, round(share * count)), count - 1)
        for label, count in Counter(images.labels[places[0]] for places in order).items()
    }
    chosen: set[int] = set()
    for places in order:
        label = images.labels[places[0]]
        if left[label] > 0 and len({images.labels[i] for i in places}) == 1:
            left[label] -= 1
            chosen.update(places)
    if not chosen:
        raise InputError(
            f"{data}: every class has one image, so there are no images for validation",
            hint="give more images, or validation images",
        )
    both = [[i for i in range(len(names)) if (i in chosen) == held_out] for held_out in (0, 1)]
    train, held_out = (
        Examples(
            images.root,
            tuple(images.paths[i] for i in part),
            tuple(images.labels[i] for i in part),
        )
        for part in both
    )
    return train, held_out


def _examples(images: LabelledImages) -> Examples:
    return Examples(images.root, images.paths, images.labels)


def _only(where: str, ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    extra = sorted(set(ours) - set(theirs))
    return [f"only {where} has {_listed(extra)}"] if extra else []


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(map(repr, names[:LISTED])) + more
