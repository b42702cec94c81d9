"""Images with known classes: a folder per class, or a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import BadImage, InputError
from edgekit.files import check_readable
from edgekit.images.folders import ImageFolder

WNIDS = "imagenet1k_wnids.txt"
LONGEST_NUMBER = 18  # digits of a class's number
HINT = "a folder with one subfolder per class, or a CSV file with the columns file and label"


@dataclass(frozen=True)
class LabelledImages:
    """``paths`` and their class numbers ``labels``, sorted by the names below ``root``."""

    root: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...]

    def names(self) -> list[str]:
        """The paths for a report: relative to ``root``, or complete if they are elsewhere."""
        return [
            (p.relative_to(self.root) if p.is_relative_to(self.root) else p).as_posix()
            for p in self.paths
        ]


def open_labelled(data: Path, classes: Sequence[str] | None, count: int) -> LabelledImages:
    """Lists labelled images.

    A class is given by its number, by its name in ``classes``, or, for networks of ImageNet's 1,000
    classes, by its WordNet id (n01440764). If names in ``classes`` are numbers, a number is a name.

    Args:
        data: a folder with one subfolder per class, or a CSV file of two columns: the file
            (relative to the folder of the CSV file) and its class. A header line ``file,label`` may
            come first.
        classes: the names of the network's classes in the order of its outputs, or None.
        count: the number of classes.

    Raises:
        BadImage: the folder is missing or has no images.
        InputError: the network does not have a class, or the CSV file cannot be read.
    """
    known = _class_numbers(classes, count)
    if data.is_dir():
        root, listed = data, [(p, _top(p, data)) for p in ImageFolder.open(data).paths]
    else:
        root, listed = data.absolute().parent, _rows(data)
    unknown = sorted({label for _, label in listed if label.casefold() not in known})
    if unknown:
        raise InputError(
            f"{data}: the network has no class {unknown[0]!r}"
            + (f", nor {len(unknown) - 1} others" if len(unknown) > 1 else ""),
            hint="name classes by their names in the bundle's labels.txt, by WordNet id, or by "
            "number if no name is a number",
        )
    return LabelledImages(
        root,
        tuple(path for path, _ in listed),
        tuple(known[label.casefold()] for _, label in listed),
    )


def class_names(data: Path) -> tuple[str, ...]:
    """The classes of labelled images by their own names, sorted; numbers by size. A folder without
    images counts.

    Raises:
        BadImage: no such data.
        InputError: a CSV file that cannot be read.
    """
    if data.is_dir():
        found = {p.name for p in data.iterdir() if p.is_dir() and not p.name.startswith(".")}
    else:
        found = {label for _, label in _rows(data)}
    return tuple(sorted(found, key=_number_first))


def _number_first(name: str) -> tuple[bool, int, str]:
    whole = name.isdecimal() and len(name) <= LONGEST_NUMBER
    return (not whole, int(name) if whole else 0, name)


def _class_numbers(classes: Sequence[str] | None, count: int) -> Mapping[str, int]:
    """All names of all classes, in lower case. A name that two classes share is left out. If names
    are numbers, the position of a class could be taken for the name of another one.
    """
    numbered = any(name.isdecimal() for name in classes or ())
    known = {} if numbered else {str(i): i for i in range(count)}
    if count == 1000:
        known |= {wnid: i for i, wnid in enumerate(imagenet_wnids())}
    names = [name.casefold() for name in classes or ()]
    return known | {name: i for i, name in enumerate(names) if names.count(name) == 1}


def imagenet_wnids() -> list[str]:
    """The WordNet ids of the classes of ImageNet-1k, in the usual order of outputs."""
    return Path(__file__).with_name(WNIDS).read_text(encoding="utf-8").split()


def _top(path: Path, root: Path) -> str:
    parts = path.relative_to(root).parts
    if len(parts) < 2:
        raise InputError(f"{path} is not in the folder of a class", hint=HINT)
    return parts[0]


def _rows(file: Path) -> list[tuple[Path, str]]:
    if not file.exists():
        raise BadImage(f"{file} does not exist", hint=HINT)
    check_readable(file, InputError, hint=HINT)
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read as CSV: {error}", hint=HINT) from error
    if rows and [cell.strip().casefold() for cell in rows[0][:2]] == ["file", "label"]:
        rows = rows[1:]
    if not rows:
        raise InputError(f"{file} lists no images", hint=HINT)
    short = next((i for i, row in enumerate(rows, 1) if len(row) < 2), None)
    if short is not None:
        raise InputError(f"{file}: row {short} has one column", hint=HINT)
    folder = file.absolute().parent
    first, second = (cell.strip() for cell in rows[0][:2])
    if not Path(first).suffix and not (folder / first).exists():
        raise InputError(f"{file} has the columns {first!r} and {second!r}", hint=HINT)
    return [(folder / row[0].strip(), row[1].strip()) for row in rows]
