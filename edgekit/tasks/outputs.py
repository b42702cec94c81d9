"""Checks what a command is given, before its work begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgekit.bundle.staging import check_outside
from edgekit.errors import InputError
from edgekit.files import check_writable


def check_outputs(outputs: Mapping[str, Path]) -> None:
    """Checks the files that will be written, by the names of their parameters.

    Raises:
        InputError: a file cannot be written, two are the same, or one would be inside a bundle.
    """
    for name, path in outputs.items():
        check_writable(f"`{name}`", path)
        check_outside(name, path)
    check_distinct(outputs)


def check_distinct(files: Mapping[str, Path]) -> None:
    """
    Raises:
        InputError: two of the files are the same.
    """
    taken: dict[Path, str] = {}
    for name, path in files.items():
        real = path.resolve()
        if real in taken:
            raise InputError(
                f"`{taken[real]}` and `{name}` are one file: {path}", hint="name two files"
            )
        taken[real] = name


def check_count(name: str, count: int) -> None:
    """
    Raises:
        InputError: a number is below 1.
    """
    if count < 1:
        raise InputError(f"invalid value for `{name}`: {count}", hint="give 1 or more")
