"""The command line: one file per command, and the only package that prints or exits."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType
from typing import NoReturn

__all__ = ["INTERRUPTED", "main"]

INTERRUPTED = "interrupted; no partial output was left behind"


def main() -> NoReturn:
    """The console script."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)  # the import of the commands takes a moment
    from edgekit.cli.app import main

    main()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Ends at once: nothing has begun."""
    with suppress(OSError):
        os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(128 + number)
