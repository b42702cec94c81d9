"""Measures memory and disk use. MB are 10⁶ bytes."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path("/")


def peak_megabytes(root: Path = ROOT) -> float:
    """The largest resident size of this process so far, or since :func:`reset_peak`, in MB.

    Linux reports it in ``/proc/self/status``. On other systems it comes from getrusage, which
    cannot be reset.
    """
    try:
        status = (root / "proc/self/status").read_text()
    except OSError:
        status = ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def reset_peak(root: Path = ROOT) -> bool:
    """Resets the peak to the current size. Returns whether the kernel allows it (Linux 4.0 and
    later, not in every container).
    """
    try:
        # 5 resets the high-water mark: man 5 proc, /proc/pid/clear_refs.
        (root / "proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def megabytes(path: Path) -> float:
    """The size of a file, or of all files in a folder and its subfolders, in MB.

    Raises:
        OSError: if there is nothing at ``path``.
    """
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6
