"""Files that somebody else names: regular ones alone, because a FIFO, a device or a socket may
never end, or never answer.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edgekit.errors import InputError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def no_file(path: Path) -> str | None:
    """Why a path is no file that can be read, in words; None for a regular file. Nothing
    is opened.
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
    """
    Args:
        path: the file to open next.
        error: what to raise where that cannot be.
        what: how the message calls the file; its path by default.
        hint: how to go on.

    Raises:
        InputError: of the kind ``error``; ``path`` is not a regular file.
    """
    if reason := no_file(path):
        raise error(f"{what or path}: {reason}", hint=hint)


def check_writable(option: str, path: Path) -> None:
    """Whether a file can be written, asked before the work for it begins.

    Raises:
        InputError: its folder is missing, or may not be written into, or something that is no
            regular file has its name.
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


def _longest_name(folder: Path) -> int:
    return os.pathconf(folder, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255


def text_of(name: str) -> str:
    """A name as json and UTF-8 can hold it: bytes of a file name that are no UTF-8 become ``\\xff``
    and the like.
    """
    return os.fsencode(name).decode(errors="backslashreplace")


def check_utf8(path: Path) -> None:
    """
    Raises:
        InputError: the path is no UTF-8, which is all that the libraries of runtimes take.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{text_of(str(path))}: the path is not UTF-8, which runtimes cannot open",
            hint="rename it",
        ) from error
