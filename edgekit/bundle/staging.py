"""Writes a folder completely or not at all: it is written under a hidden name next to its final
place, then renamed, or exchanged with the existing folder.
"""

from __future__ import annotations

import errno
import glob
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from edgekit.bundle.exchange import exchange
from edgekit.bundle.names import MANIFEST, is_engine_file
from edgekit.errors import NO_SPACE, BadBundle, EdgekitError, EnvironmentLacks, InputError
from edgekit.files import check_utf8, no_file

if sys.platform != "win32":
    import fcntl

TOKEN_BYTES = 6
REPLACED = "replaced"


class Staging:
    """Context manager: ``path`` is the folder to write into, in a hidden folder next to the final
    place. ``scratch`` is a folder for temporary files. ``commit()`` gives ``path`` its final name;
    leaving the context removes everything else.

    Args:
        final: the folder to make.
        force: replace an existing bundle, which stays unchanged until the new one is complete.
        kind: what the folder is called in messages.
        existing: the hint if the folder exists and ``force`` is not given.

    Raises:
        BadBundle: ``final`` exists and ``force`` is not given, or it is not a bundle, or holds
            files that edgekit did not write.
        InputError: the folder cannot be written, is inside a bundle, or its name is not UTF-8.
        EnvironmentLacks: the disk is full.
    """

    def __init__(
        self,
        final: Path,
        *,
        force: bool = False,
        kind: str = "bundle",
        existing: str = "`force` replaces it",
    ) -> None:
        self.final = Path(os.path.realpath(final))
        self.force = force
        self._kind = kind
        self._existing = existing
        self._sibling = Sibling(self.final)
        self.path = self._sibling.path / "bundle"
        self.scratch = self._sibling.path / "scratch"
        check_utf8(self.final)
        check_outside("out", self.final)
        try:
            self._check_final()
        except OSError as error:
            raise _explain(error, self.final) from error

    def _check_final(self) -> None:
        if Path.cwd().is_relative_to(self.final):
            raise InputError(
                f"{self.final} is the current folder, which cannot be replaced",
                hint="choose another `out`",
            )
        if not self.final.exists() or (self.final.is_dir() and not any(self.final.iterdir())):
            return
        manifest = _manifest_of(self.final)
        if manifest is None:
            raise BadBundle(
                f"{self.final} exists and is not a {self._kind}; it will not be replaced",
                hint="choose another `out`",
            )
        if not self.force:
            raise BadBundle(f"{self.final} exists", hint=self._existing)
        written = {MANIFEST, *manifest["files"]}
        others = sorted(
            p.relative_to(self.final).as_posix()
            for p in self.final.rglob("*")
            if not p.is_dir() or p.is_symlink()
        )
        if foreign := [name for name in others if name not in written and not is_engine_file(name)]:
            raise BadBundle(
                f"{self.final} contains files that edgekit did not write, for example {foreign[0]}",
                hint="move them away, or choose another `out`",
            )

    def __enter__(self) -> Staging:
        try:
            self.final.parent.mkdir(parents=True, exist_ok=True)
            self._sibling.__enter__()
            self.path.mkdir()
            self.scratch.mkdir()
        except BaseException as error:
            self._sibling.leave()
            if isinstance(error, OSError):
                raise _explain(error, self.final.parent) from error
            raise
        return self

    def commit(self) -> Path:
        """Gives the folder its final name and returns that."""
        try:
            if self.final.exists():
                self._check_final()
                if not exchange(self.path, self.final):
                    self.final.rename(self._sibling.replaced)
                    self.path.rename(self.final)
            else:
                self.path.rename(self.final)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise BadBundle(
                    f"{self.final} appeared in the meantime: another export wrote it",
                    hint=self._existing,
                ) from error
            raise _explain(error, self.final) from error
        return self.final

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sibling.leave()
        if isinstance(error, OSError) and (
            error.filename is None or Path(str(error.filename)).is_relative_to(self._sibling.path)
        ):
            raise _explain(error, self.final) from error


class Sibling:
    """Context manager: a hidden folder next to a bundle or a file, on the same disk. It is always
    removed.

    It is locked while its process runs. So the next process that works on the same output
    recognizes the leftovers of a killed process, and removes them.
    """

    def __init__(self, final: Path) -> None:
        self.final = final
        self.path = final.parent / f".{final.name}.{secrets.token_hex(TOKEN_BYTES)}.partial"
        self._lock: BinaryIO | None = None

    @property
    def replaced(self) -> Path:
        """Where the replaced bundle is moved to. If a process finds a bundle there and none in its
        place, it moves the bundle back.
        """
        return self.path / REPLACED

    def __enter__(self) -> Sibling:
        recover(self.final)
        self._lock = _hold(self.path, wait=True)
        return self

    def leave(self) -> None:
        _clear(self.path, self.final)
        if self._lock is not None:
            self._lock.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()


def recover(final: Path) -> None:
    """Removes the leftovers of killed exports and builds of a bundle, and restores the bundle that
    one of them had moved away.

    Folders of running processes are locked and stay.
    """
    with suppress(OSError):  # the name may be wrong, or the folder another user's
        final = Path(os.path.realpath(final))
        for hidden in final.parent.glob(
            f".{glob.escape(final.name)}.{'[0-9a-f]' * 2 * TOKEN_BYTES}.partial"
        ):
            if lock := _hold(hidden, wait=False):
                with lock:
                    _clear(hidden, final)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a lock during the body, if the file system has locks. Other processes wait for it."""
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def check_outside(option: str, path: Path) -> None:
    """Checks that a path is not inside a bundle. A bundle with another file is damaged.

    Raises:
        InputError: it is inside a bundle.
    """
    if any(map(is_bundle, Path(os.path.realpath(path)).parents)):
        raise InputError(
            f"`{option}` {path} is inside a bundle, and would damage it",
            hint="choose another place",
        )


def is_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle, and not another folder with a manifest. Nothing is checked."""
    return "schema_version" in (_manifest_of(folder) or {})


def _manifest_of(folder: Path) -> dict[str, Any] | None:
    """The manifest of a bundle, or of another folder that edgekit wrote; None for any other folder.
    Other programs also write files named ``manifest.json``. Only bundles have a schema version.
    """
    if no_file(folder / MANIFEST):
        return None
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if (
        not isinstance(manifest, dict)
        or "edgekit" not in manifest
        or not isinstance(manifest.get("files"), dict)
    ):
        return None
    return manifest


def _explain(error: OSError, where: Path) -> EdgekitError:
    if error.errno in NO_SPACE:
        return EnvironmentLacks(
            f"no space left to write {where}", hint="free some space, or choose another `out`"
        )
    return InputError(
        f"{where} cannot be written: {error.strerror or error}", hint="choose another `out`"
    )


def _clear(hidden: Path, final: Path) -> None:
    """Removes a hidden folder. If it holds a bundle that was not replaced, that is moved back
    first.
    """
    replaced = hidden / REPLACED
    try:
        if replaced.exists() and not final.exists():
            replaced.rename(final)
    except OSError:
        return  # this may be the only copy of the old bundle; a later export tries again
    shutil.rmtree(hidden, ignore_errors=True)


def _hold(folder: Path, *, wait: bool) -> BinaryIO | None:
    """Creates a folder if it is missing and locks it, until the file is closed or the process ends.

    Returns None if another process holds the lock, or if locks are not supported (on Windows and
    some file systems). There, leftovers are not removed.
    """
    while True:
        folder.mkdir(exist_ok=True)
        try:
            lock = (folder / "lock").open("ab")
        except FileNotFoundError:
            continue  # another process removed it as a leftover before it was locked
        if not _lock(lock, wait=wait):
            lock.close()
            return None
        if (folder / "lock").exists():
            return lock
        lock.close()


def _lock(file: BinaryIO, *, wait: bool) -> bool:
    if sys.platform != "win32":
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return True
    return False
