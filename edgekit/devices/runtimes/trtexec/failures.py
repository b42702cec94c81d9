"""Explains why trtexec failed on a device, with a hint."""

from __future__ import annotations

import re

from edgekit.devices.facts import DeviceFacts
from edgekit.devices.program import KILLED, LATE, Reply
from edgekit.devices.runtimes.options import Options
from edgekit.errors import EnvironmentLacks

_ERROR = re.compile(r"\[E\]\s*(?:\[TRT\]\s*)?(.+)")
_MEMORY = re.compile(r"out of memory|OutOfMemory|cudaErrorMemoryAllocation|std::bad_alloc", re.I)


def explain(reply: Reply, facts: DeviceFacts, options: Options) -> EnvironmentLacks:
    """The error for a failed run of trtexec: out of memory, out of time, or its own message."""
    assert reply.problem is not None
    kind, detail = reply.problem
    if kind == "clocks":
        return EnvironmentLacks(
            f"the clocks cannot be set on the device: {detail}",
            hint="`max_clocks` needs jetson_clocks and sudo without a password on the device; "
            "without `max_clocks` the clocks do not change",
        )
    code = int(detail)
    log = reply.files.get("log", b"").decode(errors="replace")
    what = "the build" if kind == "build" else "the run"
    if code == KILLED or reply.first("killed"):
        return EnvironmentLacks(
            f"{what} was killed on the device because memory ran out ({_memory(facts)})",
            hint=_more_memory(options),
        )
    if code == LATE:
        return EnvironmentLacks(
            f"{what} did not end in time on the device",
            hint="raise `time_limit`, or lower `opt_level`"
            if kind == "build"
            else "restart the device",
        )
    said = _ERROR.findall(log)
    lines = said or log.strip().splitlines()[-1:] or ["it gave no reason"]
    if _MEMORY.search(log):
        return EnvironmentLacks(
            f"{what} ran out of memory on the device ({_memory(facts)}): {lines[0][:300]}",
            hint=_more_memory(options),
        )
    crashed = f" crashed ({code - 128})" if code > 128 else f" ended with {code}"
    return EnvironmentLacks(f"trtexec{crashed} on the device: {lines[0][:300]}")


def _memory(facts: DeviceFacts) -> str:
    told = [
        f"{value} MB {name}"
        for name, value in (
            ("in all", facts.memory_mb),
            ("free before", facts.available_mb),
            ("of swap", facts.swap_mb),
        )
        if value is not None
    ]
    return ", ".join(told) or "the amount of memory is unknown"


def _more_memory(options: Options) -> str:
    ways = [
        "add swap on the device (4 GB: sudo fallocate -l 4G /swapfile; sudo chmod 600 /swapfile; "
        "sudo mkswap /swapfile; sudo swapon /swapfile)",
        "close the desktop (sudo init 3)",
    ]
    if options.workspace is None or options.workspace > 256:
        ways.append("limit `workspace` to 256")
    if options.opt_level is None or options.opt_level > 1:
        ways.append("lower `opt_level` to 1")
    return "; ".join(ways)
