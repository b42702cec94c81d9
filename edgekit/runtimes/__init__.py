"""Ways to run and build artifacts; each runtime's package is imported only by its own file, and only when it is used."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.errors import InputError
from edgekit.runtimes.base import Availability, Runtime, Session, SessionOptions, run_batches

__all__ = ["GRAPH_RUNTIMES", "Availability", "Runtime", "Session", "SessionOptions", "availability", "find", "run_batches"]

GRAPH_RUNTIMES = ("onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt")


def find(name: str) -> Runtime:
    """The runtime of a name, which need not be available here.

    Raises:
        InputError: there is none; the hint lists them.
    """
    from edgekit.runtimes import onnxruntime, onnxruntime_gpu

    known: dict[str, Runtime] = {
        runtime.name: runtime
        for runtime in (onnxruntime.OnnxRuntime(), onnxruntime_gpu.ONNXRUNTIME_CUDA, onnxruntime_gpu.ONNXRUNTIME_TENSORRT)
    }
    if name not in known:
        raise InputError(f"unknown runtime {name!r}", hint=f"one of {', '.join(known)}")
    return known[name]


def availability() -> Mapping[str, Availability]:
    """What every runtime says of itself on this machine."""
    from edgekit.runtimes import tensorrt, torch

    found = {"torch": torch.available()}
    found |= {name: find(name).available() for name in GRAPH_RUNTIMES}
    return found | {builder.name: builder.available() for builder in (tensorrt.TENSORRT, tensorrt.TENSORRT_RTX)}
