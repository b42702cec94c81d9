"""Keeps TensorRT's log, so that error messages can quote it."""

from __future__ import annotations

import re
from typing import Any, Protocol

from edgekit.runtimes.tensorrt.api import Module

# 35 is cudaErrorInsufficientDriver. The message of 8.6 is "CUDA initialization failure with error:
# 35"; other messages have CUDA's own words. A 35 elsewhere can be the line of a source file.
_OLD_DRIVER = re.compile(
    r"CUDA initialization failure with error:? 35\b|cudaErrorInsufficientDriver"
    r"|CUDA driver version is insufficient",
    re.I,
)


class Log(Protocol):
    """``errors`` and ``warnings``, oldest first."""

    errors: list[str]
    warnings: list[str]


def make_log(trt: Module) -> Any:
    """A TensorRT logger that is also a :class:`Log`."""

    base: Any = trt.ILogger

    class Kept(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)
            elif severity == trt.ILogger.Severity.WARNING:
                self.warnings.append(message)

    return Kept()


def last_words(log: Log) -> str:
    """The last errors of a log; the last warning if there is no error, as with TensorRT 8 when CUDA
    does not start.
    """
    return "; ".join(log.errors[-2:] or log.warnings[-1:]) or "it gives no reason"


def driver_hint(log: Log) -> str:
    """The hint if the library cannot start CUDA."""
    if _OLD_DRIVER.search(last_words(log)):
        return "update the NVIDIA driver: it is too old for the CUDA version of this library"
    return "run `edgekit doctor`"
