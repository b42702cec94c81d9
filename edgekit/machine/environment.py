"""Describes the environment of a measurement: the machine, its clocks and limits, and the versions
of all software.

All facts come from files below ``root`` (``/proc``, ``/sys``, ``/etc``), from tools called with
``ask`` or from NVIDIA's library ``nvml``, so that a recorded machine can take the place of this
one. Unknown facts are None or empty, never guessed. No package is imported to get its version.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekit.machine.cores import quota
from edgekit.machine.jetson import Jetson, JetsonState, describe_jetson, jetson_state
from edgekit.machine.nvidia import Gpu, GpuState, Nvml, gpu_states, gpus, system_nvml
from edgekit.machine.system import ROOT, Ask, ask_system, cpu_list, fields, first_line, number, read
from edgekit.version import installed_versions

PACKAGES = (
    "edgekit",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxscript",
    "onnxsim",
    "tensorrt",
    "tensorrt-rtx",
    "torch",
)

X86 = frozenset({"x86_64", "AMD64"})

# The flags that decide which fp32, fp16 and int8 kernels a CPU runtime uses.
CPU_FLAGS = frozenset(
    {
        *("avx", "avx2", "fma", "f16c", "avx_vnni", "avx_vnni_int8"),
        *("avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
        *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
        *("neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
    }
)

# With any of these an x86 CPU multiplies unsigned by signed bytes and adds in 32 bits.
VNNI = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})

# Arm CPUs report their maker and part as numbers of the Main ID Register. Names from Linux,
# arch/arm64/include/asm/cputype.h.
ARM_PARTS: Mapping[tuple[int, int], str] = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD83): "Neoverse-V3AE",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
}


@dataclass(frozen=True)
class Cpu:
    """``cores`` is the number of online cores, ``affinity`` the number that this process may use.
    ``quota`` is the limit of a container or service in cores.

    ``clocks_locked`` is whether the lowest and the highest allowed frequency are equal.
    """

    model: str | None
    architecture: str
    flags: tuple[str, ...]
    cores: int
    affinity: tuple[int, ...]
    quota: float | None
    governors: tuple[str, ...]
    clocks_locked: bool | None


@dataclass(frozen=True)
class Snapshot:
    """Facts that change during a measurement: frequencies in MHz, temperatures in °C, and the
    kernel's load average over one minute. ``cpu_throttles`` counts how often a core was slowed down
    because of heat since the start (x86).
    """

    cpu_mhz: tuple[int, ...]
    load: float | None
    temperatures: Mapping[str, float]
    gpus: tuple[GpuState, ...]
    jetson: JetsonState | None
    cpu_throttles: int | None = None


@dataclass(frozen=True)
class Environment:
    """``machine`` is the board or product. ``container`` and ``virtual`` name the kind of container
    and virtual machine, if any.
    """

    machine: str | None
    cpu: Cpu
    memory_mb: int | None
    os: str | None
    kernel: str | None
    python: str
    packages: Mapping[str, str]
    container: str | None
    virtual: bool
    gpus: tuple[Gpu, ...]
    jetson: Jetson | None
    before: Snapshot
    after: Snapshot | None = field(default=None)

    def finished(self, root: Path = ROOT, nvml: Nvml = None) -> Environment:
        """A copy with the current clocks and load, to call after the measurement."""
        return replace(self, after=snapshot(root, nvml))


def describe(root: Path = ROOT, ask: Ask = ask_system, nvml: Nvml = None) -> Environment:
    """Describes the machine from the files below ``root``, the tools of ``ask`` and ``nvml``, the
    NVML of this machine if None.
    """
    nvml = nvml or system_nvml()
    cpuinfo = read(root / "proc/cpuinfo") or ""
    memory = number(
        (fields(read(root / "proc/meminfo") or "").get("MemTotal") or "").removesuffix("kB")
    )
    release = read(root / "etc/os-release") or ""
    names = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)
    return Environment(
        machine=_machine(root),
        cpu=_cpu(root, cpuinfo),
        memory_mb=round(memory * 1024 / 1e6) if memory else None,
        os=names.get("PRETTY_NAME", "").strip('"') or None,
        kernel=first_line(root / "proc/sys/kernel/osrelease"),
        python=platform.python_version(),
        packages=installed_versions(PACKAGES),
        container=_container(root),
        virtual="hypervisor" in cpuinfo.split(),
        gpus=gpus(nvml),
        jetson=describe_jetson(root, ask),
        before=snapshot(root, nvml),
    )


def saturates_u8s8(root: Path = ROOT, architecture: str | None = None) -> bool:
    """Whether fast int8 products of this CPU can saturate: x86 without VNNI adds pairs of u8 × s8
    products in 16 bits.

    Returns True if the flags of the CPU are unknown.
    """
    if (architecture or platform.machine()) not in X86:
        return False
    flags = fields(read(root / "proc/cpuinfo") or "").get("flags") or ""
    return not VNNI & set(flags.split())


def snapshot(root: Path = ROOT, nvml: Nvml = None) -> Snapshot:
    """Reads the facts that change during a measurement."""
    return Snapshot(
        cpu_mhz=_cpu_mhz(root),
        load=number((first_line(root / "proc/loadavg") or "").split(" ")[0]),
        temperatures=_temperatures(root),
        gpus=gpu_states(nvml or system_nvml()),
        jetson=jetson_state(root),
        cpu_throttles=_cpu_throttles(root),
    )


def _temperatures(root: Path) -> dict[str, float]:
    """°C by the type of the sensor; several of one type, such as those of two CPU sockets, are
    numbered.
    """
    found: dict[str, float] = {}
    kinds: Counter[str] = Counter()
    for zone in sorted(
        (root / "sys/class/thermal").glob("thermal_zone[0-9]*"),
        key=lambda zone: int(zone.name.removeprefix("thermal_zone")),
    ):
        if (value := number(first_line(zone / "temp"))) is None:
            continue
        kind = first_line(zone / "type") or zone.name
        kinds[kind] += 1
        found[kind if kinds[kind] == 1 else f"{kind} {kinds[kind]}"] = value / 1e3
    return found


def _machine(root: Path) -> str | None:
    """The board of a device tree, or the maker and product of a PC's firmware."""
    if model := first_line(root / "proc/device-tree/model"):
        return model
    firmware = root / "sys/class/dmi/id"
    return (
        " ".join(
            filter(
                None, (first_line(firmware / "sys_vendor"), first_line(firmware / "product_name"))
            )
        )
        or None
    )


def _cpu(root: Path, cpuinfo: str) -> Cpu:
    facts = fields(cpuinfo)
    allowed = cpu_list(fields(read(root / "proc/self/status") or "").get("Cpus_allowed_list", ""))
    frequencies = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    limits = [
        tuple(first_line(folder / f"scaling_{end}_freq") for end in ("min", "max"))
        for folder in frequencies
    ]
    cores = sum(line.partition(":")[0].strip() == "processor" for line in cpuinfo.splitlines())
    return Cpu(
        model=_cpu_model(facts),
        architecture=platform.machine(),
        flags=tuple(
            sorted(CPU_FLAGS & set((facts.get("flags") or facts.get("Features") or "").split()))
        ),
        cores=cores,
        affinity=allowed or tuple(range(cores)),
        quota=quota(root),
        governors=tuple(
            sorted(
                {
                    governor
                    for folder in frequencies
                    if (governor := first_line(folder / "scaling_governor"))
                }
            )
        ),
        clocks_locked=all(low == high for low, high in limits) if limits else None,
    )


def _cpu_model(facts: Mapping[str, str]) -> str | None:
    if "CPU part" in facts and "CPU implementer" in facts:
        maker, part = int(facts["CPU implementer"], 16), int(facts["CPU part"], 16)
        return (
            ARM_PARTS.get((maker, part))
            or facts.get("model name")
            or f"Arm implementer {maker:#x} part {part:#x}"
        )
    return facts.get("model name")


def _cpu_mhz(root: Path) -> tuple[int, ...]:
    frequencies = sorted(
        (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"),
        key=lambda folder: int(folder.parent.name[3:]),
    )
    now = [number(first_line(folder / "scaling_cur_freq")) for folder in frequencies]
    if known := [value for value in now if value is not None]:
        return tuple(round(value / 1e3) for value in known)
    lines = (line.partition(":") for line in (read(root / "proc/cpuinfo") or "").splitlines())
    return tuple(round(float(value)) for key, _, value in lines if key.strip() == "cpu MHz")


def _cpu_throttles(root: Path) -> int | None:
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    counts = [count for file in files if (count := number(first_line(file))) is not None]
    return round(sum(counts)) if counts else None


def _container(root: Path) -> str | None:
    """The kind of container, guessed from traces of its manager; None outside a container."""
    if kind := first_line(root / "run/systemd/container"):
        return kind
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / ".dockerenv").exists():
        return "docker"
    groups = read(root / "proc/1/cgroup") or ""
    return next((kind for kind in ("kubepods", "docker", "lxc") if kind in groups), None)
