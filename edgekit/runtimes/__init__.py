"""Runtimes that run bundles and build engines. Each runtime's package is imported only by its own
file, and only when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgekit.errors import InputError
from edgekit.runtimes.base import Availability, Runtime, Session, SessionOptions, run_batches

if TYPE_CHECKING:
    from edgekit.runtimes.tensorrt import Builder

__all__ = [
    "Availability",
    "Runtime",
    "Session",
    "SessionOptions",
    "availability",
    "builders",
    "find",
    "known",
    "run_batches",
]


def known() -> Mapping[str, Runtime]:
    """All runtimes that run a bundle, by name: first those that run graphs, then those that run
    engines.
    """
    from edgekit.runtimes import onnxruntime, onnxruntime_gpu

    graphs: tuple[Runtime, ...] = (
        onnxruntime.OnnxRuntime(),
        onnxruntime_gpu.ONNXRUNTIME_CUDA,
        onnxruntime_gpu.ONNXRUNTIME_TENSORRT,
    )
    return {runtime.name: runtime for runtime in graphs} | dict(builders())


def builders() -> Mapping[str, Builder]:
    """The runtimes that build engines and run them, by name."""
    from edgekit.runtimes.tensorrt import TENSORRT, TENSORRT_RTX

    return {builder.name: builder for builder in (TENSORRT, TENSORRT_RTX)}


def find(name: str) -> Runtime:
    """Finds a runtime by its name. The runtime may be unavailable on this machine.

    Raises:
        InputError: the name is unknown. The hint lists the known names.
    """
    runtimes = known()
    if name not in runtimes:
        raise InputError(f"unknown runtime {name!r}", hint=f"one of {', '.join(runtimes)}")
    return runtimes[name]


def availability() -> Mapping[str, Availability]:
    """Whether each runtime can run here, by name. ``torch`` runs networks, not bundles."""
    from edgekit.runtimes import torch

    return {"torch": torch.available()} | {
        name: runtime.available() for name, runtime in known().items()
    }
