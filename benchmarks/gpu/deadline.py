"""The time limit of a run."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgekit.errors import EdgekitError


class OutOfTime(EdgekitError):
    """The time limit is over."""


class Deadline:
    """``seconds`` from now; None is no deadline."""

    def __init__(self, seconds: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._end = now, None if seconds is None else now() + seconds

    @property
    def left(self) -> float:
        return float("inf") if self._end is None else self._end - self._now()

    def left_of(self, most: float) -> float:
        return max(0.0, min(self.left, most))

    def check(self) -> None:
        """Checks the time.

        Raises:
            OutOfTime: the time is over.
        """
        if self.left <= 0:
            raise OutOfTime(
                "the time was over in the middle of a row",
                hint="a larger --seconds-left; rows that are whole are kept",
            )
