"""Checks files that a user names, and replaces files whole.

Only regular files are opened, because a FIFO, a device or a socket may never end or never answer.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import InputError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_TOKEN_BYTES = 8
_NO_SPACE = frozenset((errno.ENOSPC, errno.EFBIG))


def no_file(path: Path) -> str | None:
    """Why a path cannot be read as a file, in words; None for a regular file. The file is not
    opened.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "no such file"
    except (OSError, ValueError) as error:  # a ValueError where the name holds a null byte
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if stat.S_ISREG(mode):
        return None
    kind = next((name for matches, name in _KINDS if matches(mode)), "something else")
    return f"is {kind}, not a regular file"


def check_readable(
    path: Path, error: type[InputError], *, what: str | None = None, hint: str | None = None
) -> None:
    """Checks that a path is a regular file.

    Args:
        path: the file that is opened next.
        error: the error class to raise.
        what: the name of the file in the message; its path by default.
        hint: what to do.

    Raises:
        InputError: of the class ``error``; ``path`` is not a regular file.
    """
    if reason := no_file(path):
        raise error(f"{what or path}: {reason}", hint=hint)


def check_writable(option: str, path: Path) -> None:
    """Checks that a file can be written, before the work for it begins.

    Raises:
        InputError: the folder of the file is missing or not writable, or the path is something else
            than a regular file.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(
            f"{option} {path}: there is no such folder", hint=f"mkdir -p {path.parent}"
        )
    reason = no_file(path)
    if reason is not None and os.path.lexists(path):
        raise InputError(f"{option} {path}: {reason}", hint="name a file")
    if not os.access(path if reason is None else folder, os.W_OK):
        raise InputError(f"{option} {path} cannot be written", hint="choose another place")
    if len(os.fsencode(path.name)) > _longest_name(folder):
        raise InputError(
            f"{option} {path} cannot be written: File name too long", hint="choose a shorter name"
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path``, and renames it to ``path`` if the block ends without
    an error. So a file is never seen incomplete, also if several processes write it.
    """
    partial = path.with_name(f".{secrets.token_hex(_TOKEN_BYTES)}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.errno in _NO_SPACE:  # raised by a write, which does not know the file
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def remove_partials(folder: Path) -> None:
    """Removes what killed processes were writing. No other process may write files here."""
    for partial in folder.glob(f".{'[0-9a-f]' * 2 * _TOKEN_BYTES}.partial"):
        partial.unlink(missing_ok=True)


def _longest_name(folder: Path) -> int:
    return os.pathconf(folder, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255


def text_of(name: str) -> str:
    """A file name as text for json: bytes that are not UTF-8 become ``\\xff`` and so on."""
    return os.fsencode(name).decode(errors="backslashreplace")


def check_utf8(path: Path) -> None:
    """Checks the encoding of a path.

    Raises:
        InputError: the path is not UTF-8, and the libraries of runtimes open only such paths.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{text_of(str(path))}: the path is not UTF-8, which runtimes cannot open",
            hint="rename it",
        ) from error
