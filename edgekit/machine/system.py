"""Reads small files that may be missing, and runs tools that may not be installed."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path("/")
PATIENCE = 10.0

Ask = Callable[[Sequence[str]], "str | None"]


def ask_system(command: Sequence[str]) -> str | None:
    """The output of a tool, or None if it is missing, fails or takes more than ten seconds."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def read(path: Path) -> str | None:
    """The text of a file, or None if it cannot be read. The NUL at the end of device-tree strings
    is removed.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
    except OSError:
        return None


def first_line(path: Path) -> str | None:
    """The first line of a file without surrounding blanks, or None if there is none."""
    lines = (read(path) or "").strip().splitlines()
    return lines[0].strip() if lines else None


def fields(text: str) -> dict[str, str]:
    """``key : value`` lines as a dict. The first value of a repeated key is used."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


def number(text: str | None) -> float | None:
    """Parses a number; None for anything else (``[N/A]``, ``max``, an empty text)."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def cpu_list(text: str) -> tuple[int, ...]:
    """Parses the kernel's list of CPUs: ``0-2,5`` is (0, 1, 2, 5)."""
    cpus: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return tuple(cpus)
