"""Describes NVIDIA GPUs with NVML, the management library of NVIDIA's driver (``nvml.h``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# The module pynvml of NVIDIA's package nvidia-ml-py, or what stands for it in a test.
Nvml = Any

# The bits of nvmlClocksEventReasons.
REASONS = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    0x100: "display clocks",
}
# Reasons that mean heat or power slows the GPU. The other reasons are settings or idle.
THROTTLING = frozenset(
    {
        "power cap",
        "hardware slowdown",
        "software thermal slowdown",
        "hardware thermal slowdown",
        "power brake",
    }
)


@dataclass(frozen=True)
class Gpu:
    """The fixed facts of a GPU. ``compute_capability`` is 8.7 for sm_87; clocks are in MHz, the
    power limit in watts.
    """

    name: str
    driver: str
    compute_capability: str | None
    memory_mb: int | None
    max_sm_mhz: int | None
    power_limit_w: float | None


@dataclass(frozen=True)
class GpuState:
    """The changing facts of a GPU: clocks in MHz, power in watts, temperature in °C, and the
    reasons that limit the clocks.
    """

    sm_mhz: int | None
    memory_mhz: int | None
    power_w: float | None
    temperature: float | None
    reasons: tuple[str, ...]

    @property
    def throttled(self) -> tuple[str, ...]:
        """The reasons that slow down a measurement."""
        return tuple(reason for reason in self.reasons if reason in THROTTLING)


def system_nvml() -> Nvml:
    """NVML of this machine. A missing driver is only found by the first call."""
    import pynvml

    return pynvml


def gpus(nvml: Nvml) -> tuple[Gpu, ...]:
    """The GPUs that NVML lists; empty if there is no driver."""
    with opened(nvml) as handles:
        driver = ask(nvml, nvml.nvmlSystemGetDriverVersion) or "" if handles else ""
        return tuple(_gpu(nvml, handle, driver) for handle in handles)


def gpu_states(nvml: Nvml) -> tuple[GpuState, ...]:
    """The current clocks, power and temperature of each GPU."""
    with opened(nvml) as handles:
        return tuple(_state(nvml, handle) for handle in handles)


def process_megabytes(nvml: Nvml, process: int) -> float | None:
    """The memory that a process holds on all GPUs, in MB (10⁶ bytes); None if it is on none, or the
    driver does not report it.
    """
    with opened(nvml) as handles:
        held = [
            found.usedGpuMemory
            for handle in handles
            for found in ask(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
            if found.pid == process and found.usedGpuMemory is not None
        ]
    return sum(held) / 1e6 if held else None


def reasons(bits: int) -> tuple[str, ...]:
    """The names of the bits in a mask of reasons."""
    return tuple(name for bit, name in REASONS.items() if bits & bit)


@contextmanager
def opened(nvml: Nvml) -> Iterator[list[Any]]:
    """The handles of the GPUs, while the library is open."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        yield []
        return
    try:
        count = ask(nvml, nvml.nvmlDeviceGetCount) or 0
        found = [ask(nvml, nvml.nvmlDeviceGetHandleByIndex, index) for index in range(count)]
        yield [handle for handle in found if handle is not None]
    finally:
        ask(nvml, nvml.nvmlShutdown)  # a GPU may have been lost in the meantime


def _gpu(nvml: Nvml, handle: Any, driver: str) -> Gpu:
    capability = ask(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    memory = ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    return Gpu(
        name=ask(nvml, nvml.nvmlDeviceGetName, handle) or "NVIDIA GPU",
        driver=driver,
        compute_capability=None if capability is None else f"{capability[0]}.{capability[1]}",
        memory_mb=None if memory is None else round(memory.total / 1e6),
        max_sm_mhz=ask(nvml, nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_SM),
        power_limit_w=_watts(ask(nvml, nvml.nvmlDeviceGetPowerManagementLimit, handle)),
    )


def _state(nvml: Nvml, handle: Any) -> GpuState:
    degrees = ask(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)
    bits = ask(nvml, nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    if bits is None:  # drivers before 535 have the function under its older name
        bits = ask(nvml, nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
    return GpuState(
        sm_mhz=ask(nvml, nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
        memory_mhz=ask(nvml, nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
        power_w=_watts(ask(nvml, nvml.nvmlDeviceGetPowerUsage, handle)),
        temperature=None if degrees is None else float(degrees),
        reasons=reasons(bits or 0),
    )


def ask(nvml: Nvml, question: Callable[..., Any], *arguments: Any) -> Any:
    """NVML's answer, or None if the GPU or its driver has none."""
    try:
        return question(*arguments)
    except nvml.NVMLError:
        return None


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1e3
