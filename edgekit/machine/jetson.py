"""NVIDIA Jetson modules: release, power mode and clocks.

``jetson_clocks`` needs root even to show its state. So the state is read from the frequency limits
in ``/sys``, which that tool writes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgekit.machine.system import Ask, first_line, number

# Names of the integrated GPU among the kernel's devfreq devices: 57000000.gpu (Nano),
# 17000000.gv11b (Xavier), 17000000.gpu (Orin), …
_GPU = re.compile(r"\.(gpu|gm20b|gp10b|gv11b|ga10b)$|^gpu-gpc-\d+$")
# Rails of the whole module; that of Thor, VIN, also has the carrier board. VIN_SYS_5V0, VDD_GPU_SOC
# and the like are parts. AGX Orin and AGX Xavier have no rail of the whole module.
MODULE_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")
_RELEASE = re.compile(r"R(?P<major>\d+).*?REVISION:\s*(?P<minor>[\d.]+)")


@dataclass(frozen=True)
class Jetson:
    """``l4t`` is the release of Jetson Linux, such as 36.4.3. ``power_mode`` is the mode of
    nvpmodel, such as MAXN.

    ``gpu_clock_locked`` is whether the lowest and the highest allowed GPU frequency are equal, as
    ``jetson_clocks`` sets them.
    """

    l4t: str
    power_mode: str | None
    gpu_clock_locked: bool | None


@dataclass(frozen=True)
class JetsonState:
    """The current ``gpu_mhz``, the number of over-current throttling events since the start (Orin
    and later), and the power of the whole module in watts.
    """

    gpu_mhz: int | None
    overcurrent_events: int | None
    power_w: float | None = None


def describe_jetson(root: Path, ask: Ask) -> Jetson | None:
    """Describes the Jetson below ``root``, or None if the machine is not a Jetson."""
    release = _RELEASE.search(first_line(root / "etc/nv_tegra_release") or "")
    if release is None:
        return None
    mode = re.search(r"NV Power Mode:\s*(\S+)", ask(("nvpmodel", "-q")) or "")
    gpu = _gpu(root)
    limits = [first_line(gpu / f"{end}_freq") for end in ("min", "max")] if gpu else []
    return Jetson(
        l4t=f"{release['major']}.{release['minor']}",
        power_mode=mode[1] if mode else None,
        gpu_clock_locked=limits[0] == limits[1] if all(limits) and limits else None,
    )


def jetson_state(root: Path) -> JetsonState | None:
    """The current clocks and throttling, or None if the machine is not a Jetson."""
    if first_line(root / "etc/nv_tegra_release") is None:
        return None
    gpu = _gpu(root)
    hertz = number(first_line(gpu / "cur_freq")) if gpu else None
    counters = [
        number(first_line(file)) for file in (root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")
    ]
    events = [count for count in counters if count is not None]
    return JetsonState(
        round(hertz / 1e6) if hertz else None,
        round(sum(events)) if events else None,
        module_watts(root),
    )


def module_watts(root: Path) -> float | None:
    """The power of the whole module in watts, from the monitor that tegrastats reads; None if it
    has none of :data:`MODULE_RAILS`.

    Source: NVIDIA, Jetson Linux Developer Guide, "Software-Based Power Consumption Modeling".
    """
    for label in sorted((root / "sys/class/hwmon").glob("hwmon*/in[0-9]*_label")):
        if (first_line(label) or "") in MODULE_RAILS:
            place = label.name.removeprefix("in").removesuffix("_label")
            volts = number(first_line(label.with_name(f"in{place}_input")))
            amperes = number(first_line(label.with_name(f"curr{place}_input")))
            if volts is not None and amperes is not None:
                return volts * amperes / 1e6
    return None


def _gpu(root: Path) -> Path | None:
    devices = sorted((root / "sys/class/devfreq").glob("*"))
    return next((device for device in devices if _GPU.search(device.name)), None)
