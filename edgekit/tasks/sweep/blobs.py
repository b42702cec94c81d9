"""Files that travel by the hash of their content: listed where they were made, fetched where they
are missing, and put together again.
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

PIECE = 8_000_000  # bytes that travel at once
TRIES = 2


@dataclass(frozen=True)
class Blob:
    """A file: its path from the folder that it belongs to, with slashes, and its content."""

    name: str
    sha256: str
    size: int


Read = Callable[[str, int, int], bytes]
"""``read(name, start, size)``: a piece of a file on the machine that has it."""


def list_blobs(folder: Path) -> tuple[Blob, ...]:
    """All files in a folder; none where there is no such folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(
        Blob(path.relative_to(folder).as_posix(), sha256_of(path), path.stat().st_size)
        for path in files
    )


class Shelf:
    """Content that has arrived, and what the bundles of a sweep have already.

    ``received`` counts the bytes that travelled.

    Args:
        folder: where content waits until its files are whole.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._elsewhere: dict[str, Path] = {}
        self.received = 0

    def know(self, bundles: Iterable[Path]) -> None:
        """Takes the files of these bundles for content that need not travel."""
        for path in bundles:
            try:
                files = Bundle.open(path).manifest.files
            except EdgekitError:
                continue  # damaged: its content travels again
            self._elsewhere.update({file.sha256: path / name for name, file in files.items()})

    def put(self, blob: Blob, target: Path, read: Read) -> None:
        """Makes ``target`` from the blob's content, which is fetched where it is missing.

        Raises:
            EnvironmentLacks: what arrives is not what was listed.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._find(blob) or self._fetch(blob, read), target)

    def clear(self) -> None:
        """Removes content that waits; that of bundles stays."""
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
            f"{blob.name} does not arrive as it was made: its SHA-256 is not "
            f"{blob.sha256[:12]}…, asked {TRIES} times",
            hint="look at the network, the memory and the disks of the two machines",
        )

    def _receive(self, blob: Blob, read: Read) -> Path | None:
        """The content under its hash; None where it is another."""
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
