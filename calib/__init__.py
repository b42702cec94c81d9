"""The bundled photos: real pictures of animals, places and things, for parity, quantization ranges
and examples.

Each photo is a 256-pixel JPEG made from a CC0, public-domain or CC BY original: cropped to at most
4:3 around its centre, scaled and compressed, otherwise unchanged. ``LICENSES.csv`` has the author,
licence and origin of each photo, and ``make_photos.py`` makes them again. ``EVALUATION.csv`` lists
further photos that are not shipped; no photo is in both tables.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

PHOTO_TABLE = Path(__file__).parent / "LICENSES.csv"
EVALUATION_TABLE = Path(__file__).parent / "EVALUATION.csv"


@dataclass(frozen=True)
class Licence:
    """A row of the table.

    ``package`` is the package with the original, as ``name==version`` (a wheel) or ``name=version``
    (Debian); ``path`` is the file in it. ``licence`` is an SPDX identifier or "public domain".
    ``author`` is empty if the package does not name one. ``origin`` is the source of the photo, or
    the page with the licence; it is empty if the package's own copyright file has the licence.
    """

    name: str
    title: str
    package: str
    path: str
    author: str
    licence: str
    origin: str
    sha256: str


def photos() -> list[Path]:
    """The calibration photos, sorted by name."""
    return sorted(PHOTO_TABLE.parent.glob("*.jpg"))


def licences() -> list[Licence]:
    """Author, licence and origin of every calibration photo, sorted by name."""
    return read_table(PHOTO_TABLE)


def read_table(table: Path) -> list[Licence]:
    """Read ``LICENSES.csv`` or ``EVALUATION.csv``."""
    with table.open(newline="", encoding="utf-8") as file:
        return [Licence(**row) for row in csv.DictReader(file)]
