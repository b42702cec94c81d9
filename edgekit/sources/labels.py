"""Class names."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import InputError
from edgekit.files import check_readable


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names, one per line, in the order of the outputs.

    Raises:
        InputError: the file cannot be read as text, or is empty.
    """
    try:
        check_readable(
            path,
            InputError,
            what=f"`labels` {path}",
            hint="give a text file with one class name per line",
        )
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"`labels` {path} cannot be read: {error}",
            hint="give a text file with one class name per line",
        ) from error
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise InputError(
            f"`labels` {path} is empty", hint="give a text file with one class name per line"
        )
    return tuple(line.strip() for line in lines)


def imagenet_labels() -> tuple[str, ...]:
    """The names of ImageNet-1k in the usual order of a classifier's outputs."""
    return read_labels(Path(__file__).with_name("imagenet1k.txt"))
