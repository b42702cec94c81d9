"""Finds shared libraries by name in the folders of the loader and of pip packages. Nothing is
loaded.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgekit.machine.system import ROOT, Ask, ask_system

# Folders below the root on Debian and JetPack. All other folders are in the loader's cache.
_FOLDERS = (
    "usr/lib/*-linux-gnu",
    "usr/lib/*-linux-gnu/nvidia",
    "usr/lib/*-linux-gnu/tegra",
    "usr/lib64",
    "usr/lib",
    "usr/local/lib",
)
# Folders below site-packages, used by `preload_dlls` of onnxruntime and the tensorrt packages.
_PACKAGED = ("nvidia/*/lib", "tensorrt_libs", "tensorrt_rtx_libs")
_VERSION = re.compile(r"\.so\.(\d+(?:\.\d+)*)$")


class Libraries:
    """The libraries of a machine, listed once."""

    def __init__(
        self, root: Path = ROOT, ask: Ask = ask_system, packages: Sequence[str] | None = None
    ) -> None:
        self._files: dict[str, list[Path]] = {}
        for file in self._walk(root, ask, sys.path if packages is None else packages):
            known = self._files.setdefault(file.name, [])
            if file not in known:
                known.append(file)

    def has(self, name: str) -> bool:
        """Whether a library with exactly this name exists and is not empty. Containers have empty
        files in place of the host's libraries.
        """
        return any(_filled(file) for file in self._files.get(name, ()))

    def missing(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if not self.has(name))

    def versions(self, stem: str) -> dict[str, tuple[Path, ...]]:
        """All versions of ``stem`` (``libnvinfer``) from the file names, with their paths. Links
        are resolved.
        """
        found: dict[str, set[Path]] = {}
        for name, files in self._files.items():
            if not name.startswith(f"{stem}.so."):
                continue
            for file in filter(_filled, files):
                real = file.resolve()
                if match := _VERSION.search(real.name):
                    found.setdefault(match[1], set()).add(real)
        return {version: tuple(sorted(files)) for version, files in sorted(found.items())}

    def _walk(self, root: Path, ask: Ask, packages: Sequence[str]) -> Iterator[Path]:
        cache = ask(("ldconfig", "-p")) or ask(
            ("/sbin/ldconfig", "-p")
        )  # on Debian /sbin is not in a user's PATH
        for line in (cache or "").splitlines():
            if "=>" in line:
                yield Path(line.partition("=>")[2].strip())
        folders = [folder for pattern in _FOLDERS for folder in sorted(root.glob(pattern))]
        if root == ROOT:
            folders += map(Path, filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")))
        folders += [
            folder
            for package in packages
            for pattern in _PACKAGED
            for folder in sorted(Path(package or ".").glob(pattern))
        ]
        for folder in folders:
            yield from sorted(file for file in folder.glob("lib*.so*"))


def _filled(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except OSError:
        return False
