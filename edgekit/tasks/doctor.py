"""Describes this machine, and finds problems for running, building and measuring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edgekit.advice import Advice
from edgekit.latency.cautions import exact_int8
from edgekit.machine.accelerators import Accelerators, accelerators
from edgekit.machine.environment import Environment, describe
from edgekit.runtimes import Availability, availability
from edgekit.runtimes.tensorrt.library import NUMPY_1, wants_numpy_1
from edgekit.targets import (
    Target,
    Trap,
    missing_dla_compiler,
    parse_version,
    show_version,
    target_of,
    traps_for,
)
from edgekit.targets.table import Version


@dataclass(frozen=True)
class Diagnosis:
    """``target`` is the Jetson with its row of the device table, None on other machines. ``traps``
    are its known problems, with sources.
    """

    environment: Environment
    runtimes: Mapping[str, Availability]
    accelerators: Accelerators
    target: Target | None
    traps: tuple[Trap, ...]
    findings: tuple[Advice, ...]


def diagnose() -> Diagnosis:
    """Describes this machine. Imports no runtime and creates no CUDA context."""
    return judge(describe(), availability(), accelerators())


def judge(
    environment: Environment, runtimes: Mapping[str, Availability], found: Accelerators
) -> Diagnosis:
    """All problems, each with a remedy: first of the machine, then of its software, then the known
    problems of the Jetson.
    """
    target = target_of(environment, found.sm)
    traps = traps_for(target, found.tensorrt) if target is not None else ()
    if (
        target is not None
        and not found.dla_compiler
        and (trap := missing_dla_compiler(target, found.tensorrt))
    ):
        traps = (*traps, trap)
    findings = [finding for rule in _MACHINE for finding in rule(environment)]
    findings += [finding for rule in _SOFTWARE for finding in rule(environment, found)]
    if target is not None and not target.in_table:
        findings.append(_unlisted(target))
    findings += [Advice(trap.message, trap.fix) for trap in traps]
    return Diagnosis(environment, runtimes, found, target, traps, tuple(findings))


# ---- the machine


def _int8(environment: Environment) -> Iterator[Advice]:
    if (advice := exact_int8(environment)) is not None:
        yield advice


def _cores(environment: Environment) -> Iterator[Advice]:
    cpu, load = environment.cpu, environment.before.load
    if cpu.quota is not None and cpu.quota < len(cpu.affinity):
        yield Advice(
            f"a CPU limit allows {cpu.quota:g} of {len(cpu.affinity)} cores: latencies will be "
            f"uneven",
            "raise the CPU limit of the container or service to measure",
        )
    # The load is that of the whole machine, also where this process may use few of its cores.
    if load is not None and load > (cpu.cores or len(cpu.affinity)):
        yield Advice(
            f"load average {load:g} on {cpu.cores or len(cpu.affinity)} cores: latencies measured "
            f"now are too high",
            "wait until the machine is idle",
        )


def _jetson_release(environment: Environment) -> Iterator[Advice]:
    board = environment.machine or ""
    if environment.jetson is None and "Jetson" in board:
        yield Advice(
            f"the board is {board}, but /etc/nv_tegra_release is not found: its release, power "
            f"mode and known problems cannot be read",
            "in a container, start it with --runtime nvidia and "
            "-v /etc/nv_tegra_release:/etc/nv_tegra_release:ro",
        )


def _jetson_clocks(environment: Environment) -> Iterator[Advice]:
    if environment.jetson is not None and environment.jetson.gpu_clock_locked is False:
        yield Advice(
            "the GPU's clock is not locked: latencies will vary with what ran before",
            "sudo jetson_clocks, before measuring",
        )


# ---- its software


def _driver(environment: Environment, found: Accelerators) -> Iterator[Advice]:
    if found.driver is None:
        if environment.gpus or environment.jetson is not None:
            yield Advice(
                "there is an NVIDIA GPU, but libcuda.so.1 is not found, so nothing can use it",
                "in a container, start it with --gpus all (--runtime nvidia on Jetson); elsewhere "
                "install the driver",
            )
    elif found.driver.problem:
        yield Advice(
            f"the NVIDIA driver finds no GPU: {found.driver.problem}",
            "reboot after a driver update; in a container, start it with --gpus all (--runtime "
            "nvidia on Jetson)",
        )


def _cuda(environment: Environment, found: Accelerators) -> Iterator[Advice]:
    """A driver supports CUDA up to its own major version."""
    if found.driver is None or parse_version(found.driver.version)[:1] == (0,):
        return  # none, or a stub of it
    for package, version in found.cuda_packages.items():
        if parse_version(version)[:1] > parse_version(found.driver.version)[:1]:
            yield Advice(
                f"{package} {version} is newer than the driver supports, CUDA "
                f"{found.driver.version}: it fails with cudaErrorInsufficientDriver (35)",
                f"update the driver, or install packages for CUDA "
                f"{found.driver.version.partition('.')[0]}",
            )


def _tensorrt(environment: Environment, found: Accelerators) -> Iterator[Advice]:
    libraries = found.tensorrt_libraries
    if libraries and not found.has_tensorrt_module:
        yield Advice(
            f"TensorRT {', '.join(libraries)} is installed, but this Python has no module tensorrt",
            "make the virtual environment with --system-site-packages, from the Python that "
            "JetPack or the package was built for",
        )
    versions = {f"libnvinfer at {files[0]}": version for version, files in libraries.items()}
    if found.tensorrt_module is not None:
        versions["the Python module"] = found.tensorrt_module
    first, *others = versions.items() if versions else [("", "")]
    if other := next(
        (other for other in others if not _agree(parse_version(first[1]), parse_version(other[1]))),
        None,
    ):
        yield Advice(
            f"two versions of TensorRT are on the path: {first[0]} is {first[1]}, {other[0]} is "
            f"{other[1]}",
            "remove one: engines of one version do not open in the other, and the loader decides "
            "which library a module gets",
        )


def _numpy(environment: Environment, found: Accelerators) -> Iterator[Advice]:
    module, numpy = found.tensorrt_module, environment.packages.get("numpy")
    if (
        module is not None
        and numpy is not None
        and wants_numpy_1(parse_version(module), parse_version(numpy))
    ):
        yield Advice(
            f"the bindings of TensorRT {module} were made for NumPy 1 and return wrong values "
            f"with NumPy {numpy}, without an error",
            NUMPY_1,
        )


def _agree(one: Version, other: Version) -> bool:
    """Whether two versions may be the same. Compares the numbers that both have, up to the third;
    packages differ after it.
    """
    length = min(len(one), len(other), 3)
    return one[:length] == other[:length]


def _onnxruntime(environment: Environment, found: Accelerators) -> Iterator[Advice]:
    if {"onnxruntime", "onnxruntime-gpu"} <= set(found.distributions):
        yield Advice(
            "onnxruntime and onnxruntime-gpu are both installed: they are one module, and the last "
            "one installed overwrote the files of the other",
            "pip uninstall onnxruntime onnxruntime-gpu, then install the one you want",
        )


def _unlisted(target: Target) -> Advice:
    if target.jetpack is None:
        return Advice(
            f"Jetson Linux {target.l4t} is not in edgekit's device table, so its "
            f"problems are not known",
            "report it, with this output",
        )
    return Advice(
        f"Jetson Linux {target.l4t} is not in edgekit's device table; JetPack "
        f"{target.jetpack.version} "
        f"({show_version(target.jetpack.l4t)}) is the last before it and is used instead"
    )


_MACHINE: tuple[Callable[[Environment], Iterator[Advice]], ...] = (
    _int8,
    _cores,
    _jetson_release,
    _jetson_clocks,
)
_SOFTWARE: tuple[Callable[[Environment, Accelerators], Iterator[Advice]], ...] = (
    _driver,
    _cuda,
    _tensorrt,
    _numpy,
    _onnxruntime,
)
