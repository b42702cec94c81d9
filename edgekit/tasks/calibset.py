"""A calibration set: the readable, distinct photos of a folder, with a hash of the list."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.artifact import sha256_of
from edgekit.bundle import MANIFEST
from edgekit.bundle.staging import Staging
from edgekit.errors import BadImage
from edgekit.images import ImageFolder, open_image
from edgekit.reports.plain import plain
from edgekit.version import __version__


@dataclass(frozen=True)
class CalibrationSet:
    """``sha256`` is the hash of names and contents. ``duplicates`` maps a file to an identical one,
    ``corrupt`` a file to the reason.
    """

    path: Path
    count: int
    sha256: str
    photos: Mapping[str, str]
    duplicates: Mapping[str, str]
    corrupt: Mapping[str, str]
    ignored: tuple[str, ...]


def gather(folder: Path, out: Path, count: int, *, force: bool = False) -> CalibrationSet:
    """Copies at most ``count`` photos, spread evenly, and writes the list next to them.

    Raises:
        BadImage: the folder is missing, or none of its photos can be read.
        BadBundle: ``out`` exists and ``force`` is not given.
    """
    listed = ImageFolder.open(folder)
    first: dict[str, Path] = {}
    duplicates: dict[str, str] = {}
    corrupt: dict[str, str] = {}

    def name(path: Path) -> str:
        return path.relative_to(folder).as_posix()

    for path in listed.paths:
        digest = sha256_of(path)
        if digest in first:
            duplicates[name(path)] = name(first[digest])
            continue
        try:
            open_image(path)
        except BadImage as error:
            corrupt[name(path)] = error.message
        else:
            first[digest] = path
    if not first:
        raise BadImage(
            f"none of {len(listed.paths)} photos in {folder} can be read: "
            f"{next(iter(corrupt.values()))}"
        )
    chosen = ImageFolder(folder, tuple(first.values())).spread(count)
    with Staging(out, force=force, kind="calibration set") as staging:
        for path in chosen.paths:
            target = staging.path / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        digests = {path: digest for digest, path in first.items()}
        photos = {name(path): digests[path] for path in chosen.paths}
        ignored = tuple(name(path) for path in listed.ignored)
        result = CalibrationSet(
            staging.final, len(photos), chosen.sha256(), photos, duplicates, corrupt, ignored
        )
        facts = {
            key: value for key, value in plain(result).items() if key not in ("path", "photos")
        }
        text = json.dumps({"edgekit": __version__, **facts, "files": photos}, indent=1)
        (staging.path / MANIFEST).write_text(text + "\n", encoding="utf-8")
        return replace(result, path=staging.commit())
