"""Folders of images, read one by one through the preprocessing of a network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import sha256_of
from edgekit.errors import BadImage
from edgekit.files import text_of
from edgekit.images.decode import open_image
from edgekit.images.preprocess import InputSpec, preprocess

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif"}


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder and its subfolders, sorted by name. ``ignored`` are the files without
    an image suffix.
    """

    root: Path
    paths: tuple[Path, ...]
    ignored: tuple[Path, ...] = ()

    @classmethod
    def open(cls, root: Path) -> ImageFolder:
        """Lists a folder.

        Raises:
            BadImage: the folder is missing, cannot be read, or has no images.
        """
        if not root.is_dir():
            what = "is not a folder" if root.exists() else "does not exist"
            raise BadImage(f"{root} {what}", hint="give a folder of photos")
        try:
            files = sorted(p for p in root.rglob("*") if p.is_file() and not _is_hidden(p, root))
            next(root.iterdir(), None)
        except OSError as error:
            raise BadImage(f"{root} cannot be read: {error.strerror}") from error
        paths = tuple(p for p in files if p.suffix.lower() in SUFFIXES)
        if not paths:
            raise BadImage(
                f"{root} contains no images", hint=f"known suffixes: {', '.join(sorted(SUFFIXES))}"
            )
        return cls(root, paths, tuple(p for p in files if p.suffix.lower() not in SUFFIXES))

    @classmethod
    def bundled(cls) -> ImageFolder:
        """The photos that come with edgekit."""
        from edgekit.calib import photos

        paths = tuple(photos())
        return cls(paths[0].parent, paths)

    def spread(self, count: int) -> ImageFolder:
        """At most ``count`` images, evenly spaced over the list."""
        if len(self.paths) <= count:
            return self
        step = len(self.paths) / count
        return ImageFolder(
            self.root, tuple(self.paths[int(i * step)] for i in range(count)), self.ignored
        )

    def sha256(self) -> str:
        """A hash of names and contents, which identifies a list of images."""
        lines = "".join(
            f"{p.relative_to(self.root).as_posix()} {_contents(p)}\n" for p in self.paths
        )
        return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


def _contents(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return "unreadable"


@dataclass
class PreparedImages:
    """Images as input of a network, decoded when they are needed. Files that cannot be decoded are
    skipped and listed in ``skipped``.
    """

    paths: Sequence[Path]
    spec: InputSpec
    skipped: dict[Path, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[Path, NDArray[np.float32]]]:
        for path in self.paths:
            try:
                image = open_image(path, channels=self.spec.channels)
            except BadImage as error:
                self.skipped[path] = text_of(error.message)
            else:
                yield path, preprocess(image, self.spec)

    def stack(self) -> NDArray[np.float32]:
        """All images that can be decoded, ``(N, C, H, W)`` float32.

        Raises:
            BadImage: no image can be decoded.
        """
        images = [pixels for _, pixels in self]
        if not images:
            first = next(iter(self.skipped.values()), "the list is empty")
            raise BadImage(f"none of {len(self.paths)} images can be read: {first}")
        return np.stack(images)


def _is_hidden(path: Path, root: Path) -> bool:
    """Whether a name below ``root`` begins with a dot, such as ``.ipynb_checkpoints``."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)
