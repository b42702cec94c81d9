"""The energy counters of a machine: NVML for NVIDIA GPUs, RAPL for CPUs, and the power monitor of
Jetson modules, which is integrated over time.

Sources: NVIDIA's nvml.h, nvmlDeviceGetTotalEnergyConsumption (Volta and later); Linux,
Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.machine.jetson import module_watts
from edgekit.machine.nvidia import Nvml, ask, opened, system_nvml
from edgekit.machine.system import ROOT, first_line, number

LOOKS = 0.05  # seconds between two reads of a power monitor


@dataclass(frozen=True)
class Counter:
    """``joules`` increases; only differences have a meaning."""

    name: str
    joules: Callable[[], float]


@contextmanager
def energy_counters(root: Path = ROOT, nvml: Nvml = None) -> Iterator[tuple[Counter, ...]]:
    """All readable counters of this machine; most machines have none."""
    nvml = nvml or system_nvml()
    with ExitStack() as stack:
        handles = stack.enter_context(opened(nvml))
        found = [*_gpus(nvml, handles), *_packages(root)]
        if module_watts(root) is not None:
            found.append(stack.enter_context(_module(root)))
        yield tuple(found)


def _packages(root: Path) -> Iterator[Counter]:
    for zone in sorted((root / "sys/class/powercap").glob("intel-rapl:[0-9]")):
        if number(first_line(zone / "energy_uj")) is not None:
            name = first_line(zone / "name") or zone.name
            # psys counts the whole board, not only the CPU
            yield Counter("platform" if name == "psys" else f"CPU {name}", _rapl(zone))


def _rapl(zone: Path) -> Callable[[], float]:
    """The counter of a zone without its overflows. It must be read more often than it overflows."""
    span = number(first_line(zone / "max_energy_range_uj")) or 0.0
    last = number(first_line(zone / "energy_uj")) or 0.0
    total = 0.0

    def joules() -> float:
        nonlocal last, total
        found = number(first_line(zone / "energy_uj"))
        now = last if found is None else found
        total += now - last + (span if now < last else 0.0)
        last = now
        return total / 1e6

    return joules


def _gpus(nvml: Nvml, handles: Sequence[Any]) -> Iterator[Counter]:
    for index, handle in enumerate(handles):
        first = ask(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
        if first is not None:
            yield Counter(f"GPU {index}", _gpu(nvml, handle, first))


def _gpu(nvml: Nvml, handle: Any, last: int) -> Callable[[], float]:
    """The counter of a GPU, whose value was ``last``."""

    def joules() -> float:
        nonlocal last
        found: int | None = ask(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
        last = last if found is None else found  # after a failure, the last value is used
        return last / 1e3

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
