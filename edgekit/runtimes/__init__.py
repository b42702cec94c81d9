"""Ways to run and build artifacts; each runtime's package is imported only by its own file, and only when it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgekit.runtimes.base import Availability, Runtime, Session, SessionOptions, run_batches

__all__ = ["Availability", "Runtime", "Session", "SessionOptions", "availability", "run_batches"]


def availability() -> Mapping[str, Availability]:
    """What every runtime says of itself on this machine."""
    from edgekit.runtimes import onnxruntime, tensorrt, torch

    probes: dict[str, Callable[[], Availability]] = {
        "torch": torch.available,
        "onnxruntime": onnxruntime.OnnxRuntime().available,
        "tensorrt": tensorrt.TENSORRT.available,
        "tensorrt-rtx": tensorrt.TENSORRT_RTX.available,
    }
    return {name: probe() for name, probe in probes.items()}
