"""A folder that is whole or absent: written beside its final place under a hidden name and renamed when everything is in it."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType

from edgekit.errors import BadBundle, EdgekitError, EnvironmentLacks, InputError

MARKER = "manifest.json"  # what makes a folder one of ours, which --force may replace


class Staging:
    """Context manager: ``path`` is a folder to write into, in a hidden sibling of the final place, and ``scratch`` one for what the bundle will not
    hold; ``commit()`` gives ``path`` its final name, and leaving removes everything else.

    Args:
        final: the folder to make.
        force: replace an existing bundle, which stays untouched until the new one is whole.

    Raises:
        BadBundle: ``final`` exists and ``force`` is not given, or it is no bundle.
        InputError: the parent folder cannot be written.
        EnvironmentLacks: the disk is full.
    """

    def __init__(self, final: Path, *, force: bool = False) -> None:
        self.final = final.absolute()
        self.force = force
        self._hidden = self.final.with_name(f".{self.final.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
        self.path = self._hidden / "bundle"
        self.scratch = self._hidden / "scratch"
        self._check_final()

    def _check_final(self) -> None:
        if not self.final.exists():
            return
        if not (self.final / MARKER).is_file() and (not self.final.is_dir() or any(self.final.iterdir())):
            raise BadBundle(f"{self.final} exists and is no bundle; it will not be replaced", hint="choose another --out")
        if not self.force and any(self.final.iterdir()):
            raise BadBundle(f"{self.final} exists", hint="--force replaces it")

    def __enter__(self) -> Staging:
        try:
            self.final.parent.mkdir(parents=True, exist_ok=True)
            _remove_orphans(self.final)
            self.path.mkdir(parents=True)
            self.scratch.mkdir()
        except OSError as error:
            raise _explain(error, self.final.parent) from error
        return self

    def commit(self) -> Path:
        """Gives the folder its final name and returns that."""
        retired = self._hidden.with_suffix(".old")
        try:
            if self.final.exists():
                self._check_final()
                self.final.rename(retired)
            self.path.rename(self.final)
        except OSError as error:
            if retired.exists() and not self.final.exists():
                retired.rename(self.final)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise BadBundle(f"{self.final} appeared meanwhile: another export wrote it", hint="--force replaces it") from error
            raise _explain(error, self.final) from error
        shutil.rmtree(retired, ignore_errors=True)
        return self.final

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        shutil.rmtree(self._hidden, ignore_errors=True)
        if isinstance(error, OSError):
            raise _explain(error, self.final) from error


def _explain(error: OSError, where: Path) -> EdgekitError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return EnvironmentLacks(f"no space left to write {where}", hint="free some space, or choose another --out")
    return InputError(f"{where} cannot be written: {error.strerror or error}", hint="choose another --out")


def _remove_orphans(final: Path) -> None:
    """Removes what exports of the same bundle left behind when they were killed; those still running are left alone.

    A killed replacement may have left the old bundle under its retired name: it is put back.
    """
    for folder in final.parent.glob(f".{final.name}.*-*.*"):
        pid = folder.name.removeprefix(f".{final.name}.").partition("-")[0]
        if not pid.isdigit() or _is_alive(int(pid)):
            continue
        if folder.suffix == ".old" and not final.exists():
            folder.rename(final)
        elif folder.suffix in (".partial", ".old"):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
