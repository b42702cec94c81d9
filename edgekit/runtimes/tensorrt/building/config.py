"""The user's options for a build."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.errors import InputError
from edgekit.runtimes.tensorrt.building.boundary import IO, Io

MOST = 1024

Profile = tuple[int, int, int]


@dataclass(frozen=True)
class BuildConfig:
    """How an engine is built. None means that the library decides.

    ``capability`` (``sm86``) is for TensorRT-RTX only. ``profiles`` are the batch sizes of a
    dynamic graph, each (minimum, optimum, maximum). ``opt_level`` is 0 to 5, ``workspace`` is in MB
    (10⁶ bytes). ``dla_core`` runs supported layers on a Deep Learning Accelerator, the others on
    the GPU. ``kept`` names nodes that stay FP32. ``timing_cache`` is a folder. ``debug_tensors``
    makes tensors that fusion did not remove readable while the engine runs. ``io`` is the type of
    the input image and the output scores; ``fp32`` keeps the types of the graph.
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
    """Parses ``1,4,8`` to one profile per batch, ``1:4:8`` to one profile (minimum, optimum,
    maximum).

    Raises:
        InputError: the text is not numbers, or they are not in ascending order.
    """
    return (
        ()
        if text is None
        else tuple(dict.fromkeys(_profile(part, text) for part in text.split(",")))
    )


def parse_io(text: str) -> Io:
    """
    Raises:
        InputError: the type is unknown.
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
