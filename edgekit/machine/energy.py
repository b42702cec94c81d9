"""The energy counters of a machine: NVML for NVIDIA GPUs, RAPL for CPUs, and the power monitor of
Jetson modules, which is integrated over time.

Sources: NVIDIA's nvml.h, nvmlDeviceGetTotalEnergyConsumption (Volta and later); Linux,
Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.machine.jetson import module_watts
from edgekit.machine.system import ROOT, first_line, number

NVML = "libnvidia-ml.so.1"
LOOKS = 0.05  # seconds between two reads of a power monitor

Load = Callable[[str], Any]


@dataclass(frozen=True)
class Counter:
    """``joules`` increases; only differences have a meaning."""

    name: str
    joules: Callable[[], float]


@contextmanager
def energy_counters(root: Path = ROOT, load: Load = ctypes.CDLL) -> Iterator[tuple[Counter, ...]]:
    """All readable counters of this machine; most machines have none."""
    with ExitStack() as stack:
        found = [*_gpus(load, stack), *_packages(root)]
        if module_watts(root) is not None:
            found.append(stack.enter_context(_module(root)))
        yield tuple(found)


def _packages(root: Path) -> Iterator[Counter]:
    for zone in sorted((root / "sys/class/powercap").glob("intel-rapl:[0-9]")):
        if number(first_line(zone / "energy_uj")) is not None:
            yield Counter(f"CPU {first_line(zone / 'name') or zone.name}", _rapl(zone))


def _rapl(zone: Path) -> Callable[[], float]:
    """The counter of a zone without its overflows. It must be read more often than it overflows."""
    span = number(first_line(zone / "max_energy_range_uj")) or 0.0
    last = number(first_line(zone / "energy_uj")) or 0.0
    total = 0.0

    def joules() -> float:
        nonlocal last, total
        now = number(first_line(zone / "energy_uj")) or last
        total += now - last + (span if now < last else 0.0)
        last = now
        return total / 1e6

    return joules


def _gpus(load: Load, stack: ExitStack) -> Iterator[Counter]:
    try:
        library = load(NVML)
    except OSError:
        return
    if library.nvmlInit_v2() != 0:
        return
    stack.callback(library.nvmlShutdown)
    count = ctypes.c_uint(0)
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return
    for index in range(count.value):
        device = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) != 0:
            continue
        joules = _nvml(library, device)
        if joules is not None:
            yield Counter(f"GPU {index}", joules)


def _nvml(library: Any, device: ctypes.c_void_p) -> Callable[[], float] | None:
    """The counter of a GPU; None if it has none."""
    millijoules = ctypes.c_ulonglong(0)
    ask = library.nvmlDeviceGetTotalEnergyConsumption
    if ask(device, ctypes.byref(millijoules)) != 0:
        return None

    def joules() -> float:
        ask(device, ctypes.byref(millijoules))  # after a failure, the last value is used
        return millijoules.value / 1e3

    return joules


@contextmanager
def _module(root: Path) -> Iterator[Counter]:
    total = 0.0
    done = threading.Event()

    def add_up() -> None:
        nonlocal total
        then, before = time.perf_counter(), module_watts(root) or 0.0
        while not done.wait(LOOKS):
            now, watts = time.perf_counter(), module_watts(root) or before
            total += (watts + before) / 2 * (now - then)
            then, before = now, watts

    thread = threading.Thread(target=add_up, name="power", daemon=True)
    thread.start()
    try:
        yield Counter("Jetson module", lambda: total)
    finally:
        done.set()
        thread.join()
