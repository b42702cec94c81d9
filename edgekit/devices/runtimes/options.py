"""The user's options for a deployment."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.bundle import Bundle
from edgekit.errors import InputError
from edgekit.runtimes.tensorrt.building.config import MOST, Profile

DAY = 86400.0


@dataclass(frozen=True)
class Options:
    """How an engine is built on a device, and how a bundle is measured. None stands for the default
    of the library.

    ``builds`` engines are built and the fastest is kept, because two builds differ (NVIDIA/TensorRT
    issue 4730). ``workspace`` is in MB. ``max_clocks`` sets the highest clocks during the
    measurement, and restores them. ``seconds`` is the duration of the measurement. ``time_limit``
    is the number of seconds that one build may take. ``batch`` is for a dynamic batch: the smallest
    size, the one to optimize for and to measure, and the largest.

    Raises:
        InputError: a value is not allowed.
    """

    builds: int = 1
    opt_level: int | None = None
    workspace: int | None = None
    dla_core: int | None = None
    max_clocks: bool = False
    seconds: float = 3.0
    time_limit: float = 3600.0
    batch: Profile | None = None

    def __post_init__(self) -> None:
        _whole("builds", self.builds, 1, 20, "3 is enough")
        _whole("opt_level", self.opt_level, 0, 5, "3 is TensorRT's default; 5 searches longest")
        _whole("workspace", self.workspace, 1, 1_000_000, "give MB, for example 512")
        _whole("dla_core", self.dla_core, 0, 15, "the first DLA core is 0")
        for name, value in (("seconds", self.seconds), ("time_limit", self.time_limit)):
            if not _is_duration(value):
                raise InputError(
                    f"invalid value for `{name}`: {value!r}, it must be above 0 and at most a day",
                    hint=f"`{name}` 10",
                )
        if self.batch is not None:
            _check_range(self.batch)

    def batches(self, bundle: Bundle) -> Profile:
        """The batch sizes for a bundle: least, best, most. 1 for a dynamic batch without a range.

        Raises:
            InputError: the bundle has another, fixed batch.
        """
        fixed = bundle.manifest.input.shape[0]
        if not isinstance(fixed, int):
            return self.batch or (1, 1, 1)
        if self.batch not in (None, (fixed, fixed, fixed)):
            raise InputError(
                f"{bundle.path} has a fixed batch of {fixed}: `batch` cannot change it",
                hint="remove `batch`, or export the network again with a dynamic batch",
            )
        return fixed, fixed, fixed

    def sizes(self, bundle: Bundle) -> tuple[int, ...]:
        """The batch sizes that are checked with the golden images, in ascending order."""
        return tuple(sorted(set(self.batches(bundle))))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_duration(value: object) -> bool:
    return (_is_whole(value) or isinstance(value, float)) and 0 < value <= DAY  # type: ignore[operator]


def _whole(name: str, value: object, least: int, most: int, hint: str) -> None:
    if value is not None and not (_is_whole(value) and least <= value <= most):  # type: ignore[operator]
        raise InputError(f"`{name}` {value!r} is outside {least} … {most}", hint=hint)


def _check_range(batch: object) -> None:
    whole = isinstance(batch, tuple) and len(batch) == 3 and all(map(_is_whole, batch))
    if not whole or not 1 <= batch[0] <= batch[1] <= batch[2] <= MOST:  # type: ignore[index]
        raise InputError(
            f"`batch` {batch!r} is no range: three sizes from 1 to {MOST}, least ≤ best ≤ most",
            hint="`batch` 1:4:8",
        )
