"""Parses options that several commands share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edgekit.errors import InputError

if TYPE_CHECKING:
    from edgekit.comparison import GateChanges
    from edgekit.pipeline.precision import Calibrator, Int8, RandomImages, Rounding, Uint8

LONGEST_NUMBER = 20  # digits


def parse_size(text: str | None) -> tuple[int, int] | None:
    """``160`` or ``160x224`` (height × width) in pixels.

    Raises: InputError: not a number, or outside 8 … 4096.
    """
    if text is None:
        return None
    from edgekit.images.preprocess import MAX_SIDE

    parts = text.lower().replace("×", "x").split("x")
    if len(parts) > 2 or not all(is_whole(p.strip()) for p in parts):
        raise InputError(
            f"invalid value for --size: {text}",
            hint="--size 224, or --size 160x224 for height × width",
        )
    height, width = int(parts[0]), int(parts[-1])
    if not all(8 <= side <= MAX_SIDE for side in (height, width)):
        raise InputError(f"--size {text} is outside 8 … {MAX_SIDE} pixels", hint="--size 224")
    return height, width


def is_whole(text: str) -> bool:
    """Whether a text is a whole number that Python can parse; it refuses thousands of digits."""
    return text.isdecimal() and len(text) <= LONGEST_NUMBER


def parse_numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """``0.485,0.456,0.406`` to numbers.

    Raises:
        InputError: something else.
    """
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"invalid value for {option}: {text}", hint=f"{option} 0.485,0.456,0.406"
        ) from error
    if not all(map(math.isfinite, numbers)):
        raise InputError(
            f"invalid value for {option}: {text}, numbers must be finite",
            hint=f"{option} 0.485,0.456,0.406",
        )
    return numbers


def parse_batch(text: str) -> int | None:
    """Parses a positive integer, or ``dynamic`` (None).

    Raises:
        InputError: something else.
    """
    if text == "dynamic":
        return None
    if not is_whole(text) or not 1 <= int(text) <= 1024:
        raise InputError(
            f"invalid value for --batch: {text}", hint="--batch 1 … 1024, or --batch dynamic"
        )
    return int(text)


def parse_counts(option: str, text: str | None) -> tuple[int, ...]:
    """``1,4,8`` to numbers from 1 to 1024; none for None.

    Raises:
        InputError: something else, or a number twice.
    """
    parts = [part.strip() for part in text.split(",")] if text is not None else []
    if not all(is_whole(part) and 1 <= int(part) <= 1024 for part in parts):
        raise InputError(f"invalid value for {option}: {text}", hint=f"{option} 1,4,8")
    numbers = tuple(map(int, parts))
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{option} {text}: a number is given twice", hint=f"{option} 1,4,8")
    return numbers


def check_opset(opset: int) -> None:
    """
    Raises:
        InputError: outside 13 … 22.
    """
    if not 13 <= opset <= 22:
        raise InputError(
            f"--opset {opset} is not supported",
            hint="use 13 to 22; every TensorRT from 8.6 on reads 17",
        )


def parse_int8(
    calibration: str | None,
    images: int | None,
    calibrator: str | None,
    rounding: str | None,
    recover: float | None,
) -> Int8:
    """The options of INT8; those that are None have their defaults. ``99.9`` is a percentile.

    Raises:
        InputError: a value is unknown or outside its range.
    """
    from edgekit.pipeline.precision import Int8

    if calibrator is not None and calibrator[:1].isdecimal():
        calibrator = f"percentile-{calibrator}"
    return Int8(
        _calibration(calibration),
        Int8.calibrator if calibrator is None else cast("Calibrator", calibrator),
        Int8.rounding if rounding is None else cast("Rounding", rounding),
        Int8.images if images is None else images,
        recover,
    )


def _calibration(text: str | None) -> Path | RandomImages | None:
    """A folder, ``random[:seed]``, or None for the bundled photos.

    Raises:
        InputError: ``random`` with something that is not a seed.
    """
    from edgekit.pipeline.precision import RandomImages

    if text is None:
        return None
    kind, _, seed = text.partition(":")
    if kind != "random":
        return Path(text)
    if not is_whole(seed or "0"):
        raise InputError(
            f"invalid value for --calib: {text}", hint="--calib random, or --calib random:7"
        )
    return RandomImages(int(seed or "0"))


def parse_input(kind: str, layout: str | None, channel_order: str | None) -> Uint8 | None:
    """``uint8`` with its layout and channel order, or None for ``float32``.

    Raises:
        InputError: no such input, layout or order, or one of these for ``float32``.
    """
    from edgekit.pipeline.precision import Uint8

    if kind not in ("float32", "uint8"):
        raise InputError(f"invalid value for --input: {kind}", hint="float32 or uint8")
    given = {
        name: value.lower()
        for name, value in (("layout", layout), ("channel_order", channel_order))
        if value is not None
    }
    if kind == "float32":
        for name in given:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{flag} is for --input uint8 only", hint=f"add --input uint8, or remove {flag}"
            )
        return None
    return Uint8(**given)  # type: ignore[arg-type]


def parse_gate(text: str) -> GateChanges:
    """Parses ``agreement=0.97,sqnr=20``. ``none`` as a value removes this requirement, ``none``
    alone all of them.

    Raises:
        InputError: a key is unknown, a value is not a number, or a share is outside 0..1.
    """
    from edgekit.comparison import REQUIREMENTS, GateChanges

    if text.strip() == "none":
        return GateChanges(dict.fromkeys(REQUIREMENTS))
    values: dict[str, float | None] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, separator, number = part.partition("=")
        if not separator:
            raise InputError(
                f"--gate: {part!r} has no value",
                hint="for example --gate agreement=0.97, or --gate none for no requirements",
            )
        if key in values:
            raise InputError(f"--gate {text}: {key} is given twice", hint="give each key once")
        values[key] = None if number == "none" else _gate_number(number)
    return GateChanges(values)


def _gate_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(
            f"--gate: {text!r} is not a number", hint="for example --gate agreement=0.97"
        )
    return number
