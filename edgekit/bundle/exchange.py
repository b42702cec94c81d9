"""Exchanges two folders in one step, so that both names exist at every moment."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
_WITHOUT = {
    errno.ENOSYS,
    errno.EINVAL,
    errno.ENOTSUP,
}  # errors of kernels and file systems without support


def exchange(one: Path, other: Path) -> bool:
    """Exchanges the names of two paths of one file system, with Linux's renameat2(2). Returns False
    if the system or the file system does not support it.

    Raises:
        OSError: it is supported, and failed.
    """
    renameat2 = (
        getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if sys.platform == "linux"
        else None
    )  # glibc 2.28, musl 1.2.4
    if renameat2 is None:
        return False
    if (
        renameat2(
            AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), ctypes.c_uint(RENAME_EXCHANGE)
        )
        == 0
    ):
        return True
    code = ctypes.get_errno()
    if code in _WITHOUT:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))
