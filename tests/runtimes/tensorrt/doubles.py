"""Doubles of TensorRT 8.6, 10 and 11 and of TensorRT-RTX. What each offers is what the real module
of that version offered; see surface.py.

A name that the version does not have raises AttributeError, as there.
"""

from __future__ import annotations

import enum
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.machine.driver import CudaDevice, CudaDriver
from edgekit.runtimes.tensorrt import library
from edgekit.runtimes.tensorrt.building import builder
from edgekit.runtimes.tensorrt.running import loading

from .builder_double import Builder, ConstantLayer, OnnxParser
from .cuda_double import CudaDouble
from .runtime_double import Runtime
from .surface import (
    LAST_10,
    RECORDED,
    RTX,
    STRONG_10,
    STRONG_11,
    VERSIONS,
    WEAK,
    DebugTensor,
    LayerSpec,
    Scenario,
    Surface,
)

__all__ = [
    "LAST_10",
    "RTX",
    "STRONG_10",
    "STRONG_11",
    "VERSIONS",
    "WEAK",
    "DebugTensor",
    "LayerSpec",
    "Scenario",
    "install",
    "plug_gpu",
    "quantized_layers",
]


class TensorRTDouble(types.ModuleType):
    """A module ``tensorrt`` of a recorded version. ``calls`` holds every method called and every
    attribute set, in order.
    """

    def __init__(self, version: str, scenario: Scenario, cuda: CudaDouble | None = None) -> None:
        super().__init__("tensorrt_rtx" if version == RTX else "tensorrt")
        self.__spec__ = types.SimpleNamespace(name=self.__name__)  # type: ignore[assignment]
        self.version, self.scenario, self.cuda = version, scenario, cuda
        self.__version__ = version
        self.calls: list[tuple[str, Any]] = []
        self.networks: list[Any] = []
        recorded = RECORDED[version]
        for name, members in recorded["enums"].items():
            if name != "Severity":
                setattr(self, name, enum.IntEnum(name, members))

        class ILogger:
            Severity = enum.IntEnum("Severity", recorded["enums"]["Severity"])

        self.ILogger = ILogger
        for name in ("IProgressMonitor", "IProfiler", "IDebugListener"):
            if name in recorded["classes"]:
                setattr(self, name, type(name, (), {}))
        self.INetworkDefinition = type(
            "INetworkDefinition", (), dict.fromkeys(recorded["classes"]["INetworkDefinition"])
        )
        self.IConstantLayer = ConstantLayer
        for kind in (Builder, OnnxParser, Runtime):
            setattr(self, kind.__name__, self._maker(kind))

    def _maker(self, kind: type[Surface]) -> Callable[..., Any]:
        return lambda *arguments: kind(self, *arguments)

    def called(self, name: str) -> list[Any]:
        """What a method was called with, or an attribute set to, in order."""
        return [value for called, value in self.calls if called == name]

    def precisions(self) -> dict[str, str]:
        """Which layers of the last network were told what to compute in."""
        return {
            layer.name: layer.precision.name
            for layer in self.networks[-1]._layers
            if "precision" in vars(layer)
        }


def quantized_layers(*names: str) -> tuple[LayerSpec, ...]:
    """Convolutions of these names as a quantized graph has them, each with its dequantized
    operands.
    """
    return tuple(
        layer
        for name in names
        for layer in (
            LayerSpec(f"{name}/x/DequantizeLinear", "DEQUANTIZE"),
            LayerSpec(f"{name}/w/DequantizeLinear", "DEQUANTIZE"),
            LayerSpec(name, inputs=(f"{name}/x/DequantizeLinear", f"{name}/w/DequantizeLinear")),
        )
    )


def plug_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: str | None = "8.6", name: str = "NVIDIA A10"
) -> None:
    """This machine has that GPU, or none."""
    found = None if capability is None else CudaDriver("12.4", (CudaDevice(name, capability),))
    lack = "no NVIDIA driver" if capability is None else None
    monkeypatch.setattr(library, "driver", lambda: found)
    for module in (library, builder, loading):
        monkeypatch.setattr(module, "no_gpu", lambda: lack)


def install(
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    scenario: Scenario | None = None,
    cuda: CudaDouble | None = None,
) -> TensorRTDouble:
    """Python imports this double as ``tensorrt``, or as ``tensorrt_rtx`` where it is that, and the
    CUDA double with it.
    """
    double = TensorRTDouble(version, scenario or Scenario(), cuda)
    monkeypatch.setitem(sys.modules, double.__name__, double)
    monkeypatch.setattr(library, "installed_version", lambda *packages: version)
    monkeypatch.setattr(library, "MAPS", Path("/nowhere"))
    monkeypatch.setattr(library, "NUMPY_VERSION", "1.26.4")
    if cuda is not None:
        monkeypatch.setitem(sys.modules, "cuda", types.ModuleType("cuda"))
        monkeypatch.setitem(sys.modules, "cuda.bindings", types.ModuleType("cuda.bindings"))
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    return double
