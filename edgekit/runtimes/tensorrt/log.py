"""TensorRT's log, kept: what it complained of is what a failed build is explained with."""

from __future__ import annotations

from typing import Any, Protocol

from edgekit.runtimes.tensorrt.api import Module


class Log(Protocol):
    """``errors`` and ``warnings`` in the order they came."""

    errors: list[str]
    warnings: list[str]


def make_log(trt: Module) -> Any:
    """A logger for the library ``trt`` that is also a :class:`Log`."""

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
    """Its last errors; its last warning where it gave no error, as TensorRT 8 does when CUDA does
    not start.
    """
    return "; ".join(log.errors[-2:] or log.warnings[-1:]) or "it gives no reason"


def driver_hint(log: Log) -> str:
    """What to do where the library cannot start CUDA. 35 is cudaErrorInsufficientDriver."""
    if "35" in last_words(log):
        return "update the NVIDIA driver: it is older than the CUDA that this library was made for"
    return "run `edgekit doctor`"
