"""TensorRT and TensorRT-RTX: from a typed graph to an engine plan.

Networks are strongly typed: precision is what the graph says. TensorRT-RTX builds for a named compute capability without a GPU; TensorRT builds for the
GPU that it finds.
"""

from __future__ import annotations

import ctypes
import importlib
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgekit.artifact import Artifact, sha256_of
from edgekit.errors import BadNetwork, EnvironmentLacks, InputError
from edgekit.runtimes.base import Availability

# What TensorRT-RTX 1.x compiles for; sm90 and sm100 are not among them.
RTX_CAPABILITIES = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")


@dataclass(frozen=True)
class BuildConfig:
    """``capability`` (``sm86``) is for TensorRT-RTX alone; ``batch`` the profile of a dynamic batch: least, best, most."""

    capability: str | None = None
    batch: tuple[int, int, int] = (1, 1, 8)


@dataclass(frozen=True)
class Builder:
    """One of the two packages; ``module`` is what it imports as."""

    name: str
    module: str
    packages: tuple[str, ...]
    install_hint: str

    def available(self) -> Availability:
        if find_spec(self.module) is None:
            return Availability(False, reason="not installed", install_hint=self.install_hint)
        found = self._version()
        if not has_gpu():
            can = "builds engines here, running one needs an NVIDIA GPU" if self.ahead_of_time else "no NVIDIA GPU"
            return Availability(False, found, can, "use a machine with a GPU and its driver")
        return Availability(True, found)

    @property
    def ahead_of_time(self) -> bool:
        """Builds for another machine's GPU, without one."""
        return self.module == "tensorrt_rtx"

    def build(self, artifact: Artifact, path: Path, config: BuildConfig) -> Artifact:
        """Writes an engine plan.

        Raises:
            EnvironmentLacks: the package or, for TensorRT, a GPU is missing.
            InputError: a compute capability that it cannot build for.
            BadNetwork: the parser or the builder refuses the graph; its own last words are in the message.
        """
        if find_spec(self.module) is None:
            raise EnvironmentLacks(f"{self.name} is not installed", hint=self.install_hint)
        if not self.ahead_of_time and not has_gpu():
            raise EnvironmentLacks(
                f"{self.name} builds on the GPU that will run the engine, and there is none here", hint="run this on the device"
            )
        capability = _capability(config.capability) if self.ahead_of_time else None
        trt = importlib.import_module(self.module)
        log = _log(trt)
        builder = trt.Builder(log)
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = builder.create_network(flags)
        parser = trt.OnnxParser(network, log)
        if not parser.parse_from_file(str(artifact.path)):
            errors = [parser.get_error(i) for i in range(parser.num_errors)]
            raise BadNetwork(f"{self.name} cannot read {artifact.path.name}: {_describe(errors)}")
        settings = builder.create_builder_config()
        if capability is not None:
            settings.num_compute_capabilities = 1
            settings.set_compute_capability(getattr(trt.ComputeCapability, capability), 0)
        _add_profile(builder, settings, network, config.batch)
        plan = builder.build_serialized_network(network, settings)
        if plan is None:
            raise BadNetwork(f"{self.name} built nothing from {artifact.path.name}: {'; '.join(log.errors[-2:]) or 'it gives no reason'}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(plan))
        return Artifact(path, "engine", artifact.precision, artifact.inputs, artifact.outputs, sha256_of(path), artifact.sha256)

    def _version(self) -> str | None:
        for package in self.packages:
            with suppress(PackageNotFoundError):
                return version(package)
        return None


TENSORRT = Builder(
    "tensorrt", "tensorrt", ("tensorrt", "tensorrt-cu12", "tensorrt-cu13"), "pip install 'edgekit[gpu]', or use the one of your JetPack"
)
TENSORRT_RTX = Builder("tensorrt-rtx", "tensorrt_rtx", ("tensorrt-rtx", "tensorrt_rtx_cu13"), "pip install 'edgekit[rtx]'")


def has_gpu() -> bool:
    """Whether an NVIDIA driver with at least one device answers, asked of the driver library itself."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        with suppress(OSError):
            driver = ctypes.CDLL(name)
            count = ctypes.c_int(0)
            return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    return False


def _log(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps what the library complains of."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)
            elif severity == trt.ILogger.Severity.WARNING:
                self.warnings.append(message)

    return Log()


def _capability(wanted: str | None) -> str:
    """``sm86``, ``SM_86``, ``86`` or ``8.6`` as TensorRT-RTX names it, ``SM86``."""
    if wanted is None:
        raise InputError("which GPU is the engine for?", hint=f"--compute-capability {', '.join(RTX_CAPABILITIES)}")
    digits = wanted.lower().removeprefix("sm").replace("_", "").replace(".", "")
    if f"sm{digits}" not in RTX_CAPABILITIES:
        raise InputError(f"TensorRT-RTX does not build for {wanted}", hint=f"it builds for {', '.join(RTX_CAPABILITIES)}")
    return f"SM{digits}"


def _add_profile(builder: Any, settings: Any, network: Any, batch: tuple[int, int, int]) -> None:
    tensor = network.get_input(0)
    shape = tuple(tensor.shape)
    if -1 not in shape:
        return
    profile = builder.create_optimization_profile()
    profile.set_shape(tensor.name, *[(n, *shape[1:]) for n in batch])
    settings.add_optimization_profile(profile)


def _describe(errors: list[Any]) -> str:
    lines = [f"{error.node_name()} ({error.node_operator()}): {error.desc()}" for error in errors]
    return "; ".join(lines) or "it gives no reason"
