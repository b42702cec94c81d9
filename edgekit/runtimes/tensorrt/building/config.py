"""What the user may ask of a build."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.errors import InputError
from edgekit.runtimes.tensorrt.building.boundary import IO, Io

MOST = 1024

Profile = tuple[int, int, int]


@dataclass(frozen=True)
class BuildConfig:
    """How an engine is built; None leaves a choice to the library.

    ``capability`` (``sm86``) is for TensorRT-RTX alone. ``profiles`` are the batches that a dynamic
    graph is built for, each least, best, most; a batch of its own (least = best = most) gets
    kernels of its own. ``opt_level`` is 0 to 5, ``workspace`` in MB (10⁶ bytes). ``dla_core`` puts
    what can run there on a Deep Learning Accelerator, the rest on the GPU. ``kept`` names nodes
    that stay FP32 where the library would choose. ``timing_cache`` is a folder. ``debug_tensors``
    lets the engine tell its values to a listener, those that fusion left. ``io`` is the type of its
    image and scores, where ``fp32`` leaves them as the graph has them.
    """

    capability: str | None = None
    profiles: tuple[Profile, ...] = ()
    opt_level: int | None = None
    workspace: int | None = None
    dla_core: int | None = None
    kept: tuple[str, ...] = ()
    timing_cache: Path | None = None
    debug_tensors: bool = False
    io: Io = "fp32"

    def keeping(self, names: tuple[str, ...]) -> BuildConfig:
        return replace(self, kept=names)


def parse_profiles(text: str | None) -> tuple[Profile, ...]:
    """``1,4,8`` to a profile each, ``1:4:8`` to one of least, best, most.

    Raises:
        InputError: no numbers, or not in this order.
    """
    return (
        ()
        if text is None
        else tuple(dict.fromkeys(_profile(part, text) for part in text.split(",")))
    )


def parse_io(text: str) -> Io:
    """
    Raises:
        InputError: no such type.
    """
    for io in IO:
        if text == io:
            return io
    raise InputError(f"invalid value for `io`: {text}", hint=f"one of {', '.join(IO)}")


def _profile(part: str, text: str) -> Profile:
    numbers = part.strip().split(":")
    if len(numbers) not in (1, 3) or not all(number.isdecimal() for number in numbers):
        raise InputError(
            f"invalid value for `batch`: {text}",
            hint="`batch` 1, `batch` 1,4,8 for a profile each, or `batch` 1:4:8 for least, best, "
            "most",
        )
    least, best, most = map(int, numbers if len(numbers) == 3 else numbers * 3)
    if not 1 <= least <= best <= most <= MOST:
        raise InputError(
            f"`batch` {text}: batches are 1 to {MOST}, and least ≤ best ≤ most",
            hint="`batch` 1:4:8",
        )
    return least, best, most
