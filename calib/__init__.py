"""The default calibration photos: real pictures of animals, places and things, for parity,
quantisation ranges and examples.

Each photo is a 256-pixel JPEG derived from a CC0, public-domain or CC BY original: cropped about
its centre to at most 4:3, scaled and recompressed, otherwise unchanged. ``LICENSES.csv`` names the
author, licence and origin of every one, and ``make_photos.py`` rebuilds them. ``EVALUATION.csv``
lists further photos that are not shipped; no photo is in both.
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

    ``package`` is the package that carries the original, as ``name==version`` (a wheel) or
    ``name=version`` (Debian), and ``path`` the file in it. ``licence`` is an SPDX identifier or
    "public domain". ``author`` is empty where the package does not say. ``origin`` is where the
    package took the photo from, or the page that states the licence; it is empty where the
    package's own copyright file says it.
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
