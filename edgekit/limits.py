"""Limits for other people's code: how long one call may take, and whose fault an exception is.

A graph in ONNX Runtime is stopped from another thread. Python code, such as a factory or a
``forward()``, is stopped by a timer signal. A single kernel or C function that does not return
cannot be stopped.
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
REPEATED = 1.0  # seconds until the signal is repeated, for code that caught the first one


class _Overrun(BaseException):
    """Not caught by ``except Exception``."""


def _ring(number: int, frame: FrameType | None) -> NoReturn:
    raise _Overrun


def time_limit() -> float:
    """The seconds that one call may take: ``EDGEKIT_TIME_LIMIT``, else half an hour.

    Raises:
        InputError: the variable is not a positive number.
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
    """Calls ``stop`` once if the body of a ``with`` takes longer than the limit. ``late`` is then
    True.

    One thread checks all bodies, so entering and leaving a body costs next to nothing. Several
    threads may be in bodies at once; the limit then begins when the last of the others has left.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self.seconds = time_limit()
        self.late = False
        self._stop = stop
        self._runs = 0
        self._running = 0
        self._count = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watch:
        with self._count:
            if self._thread is None:
                self._thread = threading.Thread(target=self._wait, daemon=True)
                self._thread.start()
            self._runs += 1
            self._running += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._count:
            self._running -= 1

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()

    def _wait(self) -> None:
        """Checks twice per limit. If two checks in a row after the first one find the same body, it
        has run for at least the limit.
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
    """Limits the time of other people's Python code. This works only in the main thread, and not on
    Windows.

    Raises:
        BadNetwork: the code took longer.
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
    """Converts every exception of other people's code, ``sys.exit()`` included, to a BadNetwork.
    Ctrl-C and a lack of memory are not converted.

    Args:
        what: the start of the message; the exception follows.
        tell: describes the exception.
        hint: what to do.

    Raises:
        BadNetwork: the code raised an exception.
    """
    try:
        yield
    except (EdgekitError, KeyboardInterrupt, _Overrun):
        raise
    except BaseException as error:
        if out_of_memory(error):
            raise
        raise BadNetwork(f"{what} {tell(error)}", hint=hint) from error
