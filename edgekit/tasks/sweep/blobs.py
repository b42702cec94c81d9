"""Transfers files by the hash of their content: lists them on one machine, and fetches the missing
ones on another.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from edgekit.artifact import sha256_of
from edgekit.bundle import Bundle
from edgekit.errors import EdgekitError, EnvironmentLacks

PIECE = 8_000_000  # bytes of one read
TRIES = 2


@dataclass(frozen=True)
class Blob:
    """A file: its path in its folder, with slashes, and its content."""

    name: str
    sha256: str
    size: int


Read = Callable[[str, int, int], bytes]
"""``read(name, start, size)`` returns a part of a file on the other machine."""


def list_blobs(folder: Path) -> tuple[Blob, ...]:
    """All files in a folder; empty if the folder is missing."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(
        Blob(path.relative_to(folder).as_posix(), sha256_of(path), path.stat().st_size)
        for path in files
    )


class Shelf:
    """The received content, and the files that the bundles of a sweep already have.

    ``received`` counts the transferred bytes.

    Args:
        folder: for content until its files are complete.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._elsewhere: dict[str, Path] = {}
        self.received = 0

    def know(self, bundles: Iterable[Path]) -> None:
        """Adds the files of these bundles to the content that is not transferred."""
        for path in bundles:
            try:
                files = Bundle.open(path).manifest.files
            except EdgekitError:
                continue  # damaged: its content is transferred again
            self._elsewhere.update({file.sha256: path / name for name, file in files.items()})

    def put(self, blob: Blob, target: Path, read: Read) -> None:
        """Writes the content of the blob to ``target``; fetches it if it is missing.

        Raises:
            EnvironmentLacks: the received content has another hash than the listed one.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._find(blob) or self._fetch(blob, read), target)

    def clear(self) -> None:
        """Removes the received content, but not the files of bundles."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _find(self, blob: Blob) -> Path | None:
        for path in (self._folder / blob.sha256, self._elsewhere.get(blob.sha256)):
            if path is not None and path.is_file() and sha256_of(path) == blob.sha256:
                return path
        return None

    def _fetch(self, blob: Blob, read: Read) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        for _ in range(TRIES):
            path = self._receive(blob, read)
            if path is not None:
                return path
        raise EnvironmentLacks(
            f"{blob.name} was changed by the transfer: its SHA-256 is not {blob.sha256[:12]}… "
            f"after {TRIES} attempts",
            hint="check the network, the memory and the disks of the two machines",
        )

    def _receive(self, blob: Blob, read: Read) -> Path | None:
        """Fetches the content; None if its hash differs."""
        partial, digest, got = self._folder / f"{blob.sha256}.partial", hashlib.sha256(), 0
        with partial.open("wb") as file:
            while got < blob.size:
                piece = read(blob.name, got, min(PIECE, blob.size - got))
                if not piece:
                    return None
                file.write(piece)
                digest.update(piece)
                got += len(piece)
        self.received += got
        return (
            partial.replace(self._folder / blob.sha256)
            if digest.hexdigest() == blob.sha256
            else None
        )
