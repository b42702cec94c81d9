"""Options that several verbs read the same way."""

from __future__ import annotations

import math
from typing import Literal

from edgekit.errors import InputError
from edgekit.images.preprocess import MAX_SIDE

LONGEST_NUMBER = 20  # digits


def parse_size(text: str | None) -> tuple[int, int] | None:
    """``160`` or ``160x224`` (height × width) in pixels.

    Raises:
        InputError: no numbers, or outside 8 … 4096.
    """
    if text is None:
        return None
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) > 2 or not all(is_whole(p.strip()) for p in parts):
        raise InputError(
            f"--size {text} is no size", hint="--size 224, or --size 160x224 for height × width"
        )
    height, width = int(parts[0]), int(parts[-1])
    if not all(8 <= side <= MAX_SIDE for side in (height, width)):
        raise InputError(f"--size {text} is outside 8 … {MAX_SIDE} pixels", hint="--size 224")
    return height, width


def is_whole(text: str) -> bool:
    """Whether a text is a whole number that Python reads; it refuses to read thousands of
    digits.
    """
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
            f"{option} {text}: these are no numbers", hint=f"{option} 0.485,0.456,0.406"
        ) from error
    if not all(map(math.isfinite, numbers)):
        raise InputError(
            f"{option} {text}: these are no finite numbers", hint=f"{option} 0.485,0.456,0.406"
        )
    return numbers


def parse_batch(text: str) -> int | None:
    """A positive integer, or ``dynamic`` (None).

    Raises:
        InputError: something else.
    """
    if text == "dynamic":
        return None
    if not is_whole(text) or not 1 <= int(text) <= 1024:
        raise InputError(
            f"--batch {text} is not a batch", hint="--batch 1 … 1024, or --batch dynamic"
        )
    return int(text)


def check_opset(opset: int) -> None:
    """
    Raises:
        InputError: outside 13 … 22.
    """
    if not 13 <= opset <= 22:
        raise InputError(
            f"--opset {opset} is not supported",
            hint="13 to 22; 17 is read by every TensorRT from 8.6 on",
        )


def check_calibrator(name: str) -> str:
    """
    Raises:
        InputError: no such calibrator.
    """
    known = (
        "auto",
        "max",
        "percentile-99.9",
        "percentile-99.99",
        "percentile-99.999",
        "percentile-99.9999",
        "entropy",
        "mse",
    )
    wanted = f"percentile-{name}" if name[:1].isdecimal() else name
    if wanted not in known:
        raise InputError(f"--calibrator {name} is unknown", hint=f"one of {', '.join(known)}")
    return wanted


def check_rounding(name: str) -> Literal["nearest", "adaptive"]:
    """
    Raises:
        InputError: no such rounding.
    """
    if name == "nearest":
        return "nearest"
    if name == "adaptive":
        return "adaptive"
    raise InputError(f"--rounding {name} is unknown", hint="adaptive or nearest")
