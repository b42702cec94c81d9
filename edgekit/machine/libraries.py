"""Shared libraries by name, where a loader or a package of pip's would find them; nothing is
loaded.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgekit.machine.system import ROOT, Ask, ask_system

# Below the root, as Debian and JetPack lay them out; whatever else the loader knows is in its
# cache.
_FOLDERS = (
    "usr/lib/*-linux-gnu",
    "usr/lib/*-linux-gnu/nvidia",
    "usr/lib/*-linux-gnu/tegra",
    "usr/lib64",
    "usr/lib",
    "usr/local/lib",
)
# Below site-packages: what `preload_dlls` of onnxruntime and the tensorrt packages load from.
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
        """Whether there is a library of exactly that name with something in it: containers leave
        empty files where the host's should be.
        """
        return any(_filled(file) for file in self._files.get(name, ()))

    def missing(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if not self.has(name))

    def versions(self, stem: str) -> dict[str, tuple[Path, ...]]:
        """Every version of ``stem`` (``libnvinfer``), as far as its file names tell, with where it
        lies; links count as what they lead to.
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
        )  # Debian's users have no /sbin on their path
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
