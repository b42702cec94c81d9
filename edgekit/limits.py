"""What somebody else wrote, while it runs: how long one call may take, and whose fault its
exceptions are.

A graph in ONNX Runtime is stopped from a thread beside it; Python code, a factory or a
``forward()``, by a timer signal. One kernel or C function that runs on without returning is stopped
by neither.
"""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from edgekit.errors import BadNetwork, EdgekitError, InputError, out_of_memory, said

VARIABLE = "EDGEKIT_TIME_LIMIT"
DEFAULT = 1800.0
LOGITS_ALONE = "in evaluation mode, return only the logits, shaped (images, classes)"
REPEATED = 1.0  # seconds after which code that caught the first signal is told again


class _Overrun(BaseException):
    """Passes through ``except Exception``."""


def _ring(number: int, frame: FrameType | None) -> NoReturn:
    raise _Overrun


def time_limit() -> float:
    """Seconds that one call may take: ``EDGEKIT_TIME_LIMIT``, else half an hour.

    Raises:
        InputError: the variable holds no positive number.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return DEFAULT
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise InputError(
            f"invalid value for {VARIABLE}: {text}",
            hint=f"the seconds that one call may take, for example {VARIABLE}={DEFAULT:g}",
        )
    return seconds


def overrun(what: str, seconds: float) -> BadNetwork:
    return BadNetwork(
        f"{what} did not finish within {seconds:g} s",
        hint=f"set {VARIABLE} to a larger number of seconds",
    )


class Watch:
    """Calls ``stop`` once when a body of ``with`` takes longer than the limit; ``late`` says that
    it did.

    One thread waits for as long as bodies follow each other, so that entering and leaving cost next
    to nothing.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self.seconds = time_limit()
        self.late = False
        self._stop = stop
        self._runs = 0
        self._running = False
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watch:
        if self._thread is None:
            self._thread = threading.Thread(target=self._wait, daemon=True)
            self._thread.start()
        self._runs += 1
        self._running = True
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()

    def _wait(self) -> None:
        """Looks twice in the time that a body has: one that is still the same at the second look
        after the first has taken at least that.
        """
        seen = looks = 0
        while not self._closed.wait(self.seconds / 2):
            looks = looks + 1 if self._running and self._runs == seen else 0
            seen = self._runs
            if looks == 2:
                self.late = True
                self._stop()
                return


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Limits Python code that somebody else wrote, where signals can: in the main thread, and not
    on Windows.

    Raises:
        BadNetwork: it took longer.
    """
    seconds = time_limit()
    if threading.current_thread() is not threading.main_thread() or not hasattr(
        signal, "setitimer"
    ):
        yield
        return

    before = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, REPEATED)
    try:
        yield
    except _Overrun as late:
        raise overrun(what, seconds) from late
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def blaming(
    what: str,
    tell: Callable[[BaseException], str] = said,
    hint: str = "the fault is in that code, not in edgekit; `debug` shows where",
) -> Iterator[None]:
    """Tells whatever somebody else's code raises as their fault, ``sys.exit()`` included; Ctrl-C
    and a lack of memory are nobody's.

    Args:
        what: what the message begins with, the exception comes behind it.
        tell: the exception in words.
        hint: how to go on.

    Raises:
        BadNetwork: the code raised something.
    """
    try:
        yield
    except (EdgekitError, KeyboardInterrupt, _Overrun):
        raise
    except BaseException as error:
        if out_of_memory(error):
            raise
        raise BadNetwork(f"{what} {tell(error)}", hint=hint) from error
