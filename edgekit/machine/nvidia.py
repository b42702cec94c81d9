"""Describes NVIDIA GPUs with ``nvidia-smi``."""

from __future__ import annotations

import csv
from dataclasses import dataclass

from edgekit.machine.system import Ask, number

# Bits of the field clocks_event_reasons.active: nvmlClocksEventReasons in NVIDIA's nvml.h.
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


def gpus(ask: Ask) -> tuple[Gpu, ...]:
    """The GPUs that nvidia-smi lists; empty if it is missing."""
    rows = _query(
        ask,
        ("name", "driver_version", "compute_cap", "memory.total", "clocks.max.sm", "power.limit"),
    )
    return tuple(
        # nvidia-smi counts memory in MiB.
        Gpu(row[0], row[1], _text(row[2]), _whole(row[3], 1.048576), _whole(row[4]), number(row[5]))
        for row in rows
    )


def gpu_states(ask: Ask) -> tuple[GpuState, ...]:
    """The current clocks, power and temperature of each GPU."""
    common = ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu")
    # Drivers before 535 use an older field name for the reasons.
    rows = _query(ask, (*common, "clocks_event_reasons.active")) or _query(
        ask, (*common, "clocks_throttle_reasons.active")
    )
    return tuple(
        GpuState(_whole(row[0]), _whole(row[1]), number(row[2]), number(row[3]), reasons(row[4]))
        for row in rows
    )


def process_megabytes(ask: Ask, process: int) -> float | None:
    """The memory that a process holds on all GPUs, in MB (10⁶ bytes); None if it is on none, or
    the driver does not say.
    """
    query = "--query-compute-apps=pid,used_gpu_memory"
    answer = ask(("nvidia-smi", query, "--format=csv,noheader,nounits"))
    rows = [line.split(",") for line in (answer or "").splitlines()]
    held = [
        number(row[1].strip()) for row in rows if len(row) == 2 and row[0].strip() == str(process)
    ]
    known = [value for value in held if value is not None]
    return sum(known) * 1.048576 if known else None  # nvidia-smi counts in MiB


def reasons(mask: str) -> tuple[str, ...]:
    """The names of the bits in a mask such as ``0x0000000000000004``; empty if it is not a mask."""
    try:
        bits = int(mask, 16)
    except ValueError:
        return ()
    return tuple(name for bit, name in REASONS.items() if bits & bit)


def _query(ask: Ask, wanted: tuple[str, ...]) -> list[list[str]]:
    answer = ask(("nvidia-smi", f"--query-gpu={','.join(wanted)}", "--format=csv,noheader,nounits"))
    rows = [[cell.strip() for cell in row] for row in csv.reader((answer or "").splitlines())]
    return [row for row in rows if len(row) == len(wanted)]


def _text(cell: str) -> str | None:
    return None if cell.startswith("[") or cell == "N/A" else cell


def _whole(cell: str, scale: float = 1) -> int | None:
    value = number(cell)
    return None if value is None else round(value * scale)
