"""A job on a machine of a cluster: a process whose files stay until they have been fetched."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.artifact import sha256_of
from edgekit.bundle.staging import Sibling
from edgekit.tasks.sweep.blobs import Blob, list_blobs
from edgekit.tasks.sweep.job import Job, Outcome
from edgekit.tasks.sweep.places import Here
from edgekit.tasks.sweep.processes import Limits, resident_megabytes
from edgekit.version import __version__

LOOKS = 0.05  # seconds between two
BUNDLES, REPORT, LOG = "bundles", "report.json", "log.txt"


@dataclass(frozen=True)
class Ran:
    """The outcome and duration of a job, and the files in its folder."""

    outcome: Outcome
    seconds: float
    files: tuple[Blob, ...]


@dataclass(frozen=True)
class Machine:
    """The description of a machine of a cluster; ``missing`` are files that it lacks or that differ
    there.
    """

    host: str
    edgekit: str
    tells_memory: bool
    missing: tuple[str, ...]


def look_around(files: Mapping[str, str | None]) -> Machine:
    """
    Args:
        files: paths that jobs open, with the SHA-256 of each; None for a folder.
    """
    missing = tuple(path for path, sha256 in files.items() if not _is_there(Path(path), sha256))
    return Machine(socket.gethostname(), __version__, bool(resident_megabytes()), missing)


def _is_there(path: Path, sha256: str | None) -> bool:
    if sha256 is None:
        return path.is_dir()
    return path.is_file() and sha256_of(path) == sha256


class NodeJob:
    """One job with its folder. The folder of a killed job is removed when the next one begins."""

    def __init__(self) -> None:
        owner = os.getuid() if hasattr(os, "getuid") else 0
        self._kept = Sibling(Path(tempfile.gettempdir()) / f"edgekit-sweep-{owner}")
        self._kept.__enter__()
        self._folder = self._kept.path / "files"
        self._folder.mkdir()

    def run(self, text: str, limits: Limits, function: str, threads: int) -> Ran:
        """Runs a job until it ends or exceeds a limit.

        Args:
            text: the job, from :meth:`Job.to_text`.
            limits: of the job.
            function: the function that does it, as ``module:function``.
            threads: the number of CPU threads.
        """
        asked = Job.from_text(text)
        out = self._folder / BUNDLES / Path(asked.out).name
        job = replace(asked, out=str(out), report=str(self._folder / REPORT))
        with Here(1, limits, function, threads=threads, folder=self._folder) as place:
            running = place.start(job, self._folder / LOG)
            try:
                while (outcome := running.look()) is None:
                    time.sleep(LOOKS)
            except BaseException:
                running.end()
                raise
        return Ran(outcome, running.seconds, list_blobs(self._folder))

    def read(self, name: str, start: int, size: int) -> bytes:
        """A part of one of the job's files."""
        with (self._folder / name).open("rb") as file:
            file.seek(start)
            return file.read(size)

    def leave(self) -> None:
        """Removes the job's files."""
        self._kept.leave()
