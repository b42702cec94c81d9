"""Measures memory and disk use. MB are 10⁶ bytes."""

from __future__ import annotations

import sys
from pathlib import Path

from edgekit.machine.system import ROOT


def peak_megabytes(root: Path = ROOT) -> float:
    """The largest resident size of this process so far, in MB.

    Linux reports it in ``/proc/self/status``; on other systems it comes from getrusage.
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


def megabytes(path: Path) -> float:
    """The size of a file, or of all files in a folder and its subfolders, in MB.

    Raises:
        OSError: if there is nothing at ``path``.
    """
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6
