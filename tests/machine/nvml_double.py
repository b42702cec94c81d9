"""A stand-in for pynvml on a machine without an NVIDIA GPU.

It has the functions that edgekit calls, under the names, units and errors of the real module: clocks
in MHz, power in milliwatts, memory in bytes, and ``NVMLError`` for what a GPU or driver cannot tell.
What it answers is data, so it proves how answers are read and not what a GPU says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pynvml

GPU = 0  # the handle of the only GPU


@dataclass(frozen=True)
class Card:
    name: str = "NVIDIA GeForce RTX 3060"
    capability: tuple[int, int] = (8, 6)
    memory: int | None = 12288 * 2**20
    max_sm: int | None = 2100
    limit: int | None = 170_000
    clocks: tuple[int, int] = (1837, 7300)
    power: int | None = None
    temperature: int = 61
    reasons: int = 0x24
    processes: tuple[tuple[int, int | None], ...] = ()  # process id and bytes
    millijoules: int | None = None


@dataclass
class NvmlDouble:
    """``card`` is None where the driver is missing; an ``old`` driver knows the reasons by their
    older name only. ``opened`` counts the sessions that were not closed.
    """

    card: Card | None = field(default_factory=Card)
    old: bool = False
    opened: int = 0

    NVMLError = pynvml.NVMLError
    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM
    NVML_CLOCK_MEM = pynvml.NVML_CLOCK_MEM
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU

    def nvmlInit(self) -> None:
        if self.card is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return "550.54.14"

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        assert self.opened == 1 and index == 0
        return GPU

    def nvmlDeviceGetName(self, handle: int) -> str:
        return self._card(handle).name

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        return self._card(handle).capability

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(total=_supported(self._card(handle).memory))

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:
        running = self._card(handle).processes
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in running]

    def nvmlDeviceGetMaxClockInfo(self, handle: int, clock: int) -> int:
        assert clock == pynvml.NVML_CLOCK_SM
        return _supported(self._card(handle).max_sm)

    def nvmlDeviceGetPowerManagementLimit(self, handle: int) -> int:
        return _supported(self._card(handle).limit)

    def nvmlDeviceGetClockInfo(self, handle: int, clock: int) -> int:
        clocks = (pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM)
        return self._card(handle).clocks[clocks.index(clock)]

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return _supported(self._card(handle).power)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        return _supported(self._card(handle).millijoules)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return self._card(handle).temperature

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: int) -> int:
        if self.old:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        return self._card(handle).reasons

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:
        return self._card(handle).reasons

    def _card(self, handle: int) -> Card:
        assert self.opened == 1 and handle == GPU and self.card is not None
        return self.card


def no_driver() -> NvmlDouble:
    """A machine without an NVIDIA driver."""
    return NvmlDouble(card=None)


def _supported(number: int | None) -> int:
    if number is None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    return number
