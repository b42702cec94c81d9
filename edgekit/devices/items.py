"""The files to send to a device, identified by their content."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgekit.artifact import sha256_of

RELEASE_DIGITS = 12


@dataclass(frozen=True)
class Item:
    """A file of a release: ``path`` is on the device, ``data`` its path here or its bytes."""

    path: str
    sha256: str
    size: int
    data: Path | bytes

    @classmethod
    def of_file(cls, path: str, file: Path) -> Item:
        return cls(path, sha256_of(file), file.stat().st_size, file)

    @classmethod
    def of_bytes(cls, path: str, data: bytes) -> Item:
        return cls(path, hashlib.sha256(data).hexdigest(), len(data), data)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.data) if isinstance(self.data, bytes) else self.data.open("rb")

    def begins_with(self, size: int, sha256: str) -> bool:
        """Whether its first ``size`` bytes have this hash."""
        if not 0 < size <= self.size:
            return False
        digest = hashlib.sha256()
        with self.open() as file:
            while size and (chunk := file.read(min(size, 1 << 20))):
                digest.update(chunk)
                size -= len(chunk)
        return digest.hexdigest() == sha256


def release_id(items: Iterable[Item], *how: str) -> str:
    """The name of a release. It depends on the files and on how they are run."""
    lines = sorted(f"{item.sha256} {item.path}" for item in items)
    return hashlib.sha256("\n".join([*lines, *how]).encode()).hexdigest()[:RELEASE_DIGITS]
