"""Converts the arguments of the API to those of the packages below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.bundle.folder import Bundle
from edgekit.comparison import Gate, GateChanges
from edgekit.errors import InputError
from edgekit.images.preprocess import MAX_SIDE
from edgekit.pipeline.precision import Fp16, Fp32, Int8, Precision, Uint8


def path_of(given: Path | str | None) -> Path | None:
    """
    Raises:
        InputError: it is no path.
    """
    try:
        return None if given is None else Path(given)
    except TypeError as error:
        raise InputError(f"{given!r} is not a path", hint="name a file or a folder") from error


def numbers_of(given: Sequence[float] | None) -> tuple[float, ...] | None:
    """
    Raises:
        InputError: it is a single number.
    """
    try:
        return None if given is None else tuple(given)
    except TypeError as error:
        raise InputError(
            f"`mean` and `std` are one number per channel, not {given!r}",
            hint="for example (0.5,) for one channel",
        ) from error


def size_of(given: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """The height and width of images; one number is for both.

    Raises:
        InputError: it is something else.
    """
    if given is None:
        return None
    sides = given if isinstance(given, list | tuple) else (given, given)
    if len(sides) != 2 or not all(isinstance(s, int) and 1 <= s <= MAX_SIDE for s in sides):
        raise InputError(
            f"invalid value for `size`: {given!r}",
            hint=f"pixels from 1 to {MAX_SIDE}, or (height, width)",
        )
    return sides[0], sides[1]


def names_of(given: str | Sequence[str]) -> tuple[str, ...]:
    """One name, or several."""
    return (given,) if isinstance(given, str) else tuple(given)


def name_of(given: Bundle | Path | str) -> str:
    """The name of a bundle, a path or a network, as on the command line.

    Raises:
        InputError: it is none of these.
    """
    if not isinstance(given, Bundle | Path | str):
        raise InputError(
            f"a {type(given).__name__} is neither a bundle, a path nor a name",
            hint="export a network in memory first, and give its bundle",
        )
    return str(given.path if isinstance(given, Bundle) else given)


def folder_of(given: Bundle | Path | str) -> Path:
    """The folder of a bundle; raises as :func:`name_of`."""
    return Path(name_of(given))


def precision_of(given: Precision | None, default: Precision) -> Precision:
    """
    Raises:
        InputError: it is no precision.
    """
    if given is None:
        return default
    if not isinstance(given, Fp32 | Fp16 | Int8):
        raise InputError(
            f"invalid value for `precision`: {given!r}",
            hint="edgekit.Fp32(), edgekit.Fp16() or edgekit.Int8()",
        )
    return given


def input_of(given: Uint8 | None) -> Uint8 | None:
    """
    Raises:
        InputError: it is no input.
    """
    if not isinstance(given, Uint8 | None):
        raise InputError(
            f"invalid value for `input`: {given!r}",
            hint="edgekit.Uint8(), or None for normalized images",
        )
    return given


def gate_of(given: Gate | GateChanges | None) -> Gate | GateChanges:
    """The gate; without one, the default gate does not change.

    Raises:
        InputError: it is no gate.
    """
    if given is None:
        return GateChanges()
    if not isinstance(given, Gate | GateChanges):
        raise InputError(
            f"invalid value for `gate`: {given!r}",
            hint="for example edgekit.Gate(agreement=0.97)",
        )
    return given
