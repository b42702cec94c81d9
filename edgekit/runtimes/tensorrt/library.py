"""The two packages TensorRT and TensorRT-RTX: installed version, target GPU, and build dialect.

The dialect is detected from the flags of the module, because the version strings of JetPack, pip
and containers differ:

- weak (8.6, and 10 for a DLA): builder flags allow precisions, and the types in the graph are
hints;
- strong (10, 11, RTX): the types in the graph are binding. 11 has only this dialect, 10 needs a
flag.
"""

from __future__ import annotations

import ctypes
import importlib
import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from edgekit.errors import EnvironmentLacks, InputError
from edgekit.machine.driver import CudaDevice, driver, no_gpu
from edgekit.runtimes.tensorrt.api import Module
from edgekit.targets.table import FIRST_STRONG_ON_DLA, Dialect
from edgekit.targets.traps import OLDEST_BUILT
from edgekit.version import installed_version

# The targets of TensorRT-RTX 1.x; sm90 and sm100 are not supported.
RTX_CAPABILITIES = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
# The bindings of these versions were compiled for NumPy 1 (the wheels from 8.6.1 to 10.13.3 name
# numpy.core.multiarray): arrays that they return would be read wrongly with NumPy 2, without an
# error. From 10 on edgekit reads none of them, see ``building/boundary.py``.
NUMPY_1_UP_TO = (8,)
NUMPY_VERSION = np.__version__
NUMPY_1 = "pip install 'numpy<2'"
MAPS = Path("/proc/self/maps")


@dataclass(frozen=True)
class Library:
    """An imported package. ``trt`` is its module. ``for_dla``: it builds for a Deep Learning
    Accelerator.
    """

    name: str
    trt: Module
    version: str
    for_dla: bool = False

    def building(self, dla_core: int | None) -> Library:
        """This package for a build with this DLA core, or for the GPU if it is None."""
        return replace(self, for_dla=dla_core is not None)

    @property
    def release(self) -> tuple[int, ...]:
        """The version as numbers: ``(8, 6, 1)``."""
        return _numbers(self.version)

    @property
    def dialect(self) -> Dialect:
        """The dialect of a build; for a DLA see
        :data:`edgekit.targets.table.FIRST_STRONG_ON_DLA`.
        """
        if self.for_dla and not self.ahead_of_time and self.release < FIRST_STRONG_ON_DLA:
            return "weak"
        strong = hasattr(self.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") or not hasattr(
            self.trt.BuilderFlag, "FP16"
        )
        return "strong" if strong else "weak"

    @property
    def ahead_of_time(self) -> bool:
        """Whether it builds for a named GPU, and needs no GPU itself."""
        return hasattr(self.trt, "ComputeCapability")

    @property
    def has_debug_tensors(self) -> bool:
        """Whether it can report inner tensors without changing fusion (10.12 and newer)."""
        return hasattr(self.trt.INetworkDefinition, "mark_unfused_tensors_as_debug_tensors")

    @property
    def network_flags(self) -> int:
        """The flags to create a network: strong typing in the strong dialect, else the explicit
        batch that 8.x needs to parse ONNX.
        """
        flags = self.trt.NetworkDefinitionCreationFlag
        name = "STRONGLY_TYPED" if self.dialect == "strong" else "EXPLICIT_BATCH"
        return 1 << int(getattr(flags, name)) if hasattr(flags, name) else 0

    def target(self, capability: str | None) -> BuildTarget:
        """The GPU to build for: the requested one, or the one of this machine.

        Raises:
            EnvironmentLacks: the library needs a GPU, and this machine has none.
            InputError: no GPU is requested and this machine has none, or the library does not build
                for the requested GPU.
        """
        found = device()
        if not self.ahead_of_time:
            if found is None:
                raise EnvironmentLacks(
                    f"{self.name} builds on the GPU that will run the engine, and this machine has "
                    f"none: {no_gpu()}",
                    hint="run this on the device; `edgekit doctor` says what is missing",
                )
            if capability is not None and _digits(capability) != str(found.sm):
                raise InputError(
                    f"{self.name} builds only for the GPU of this machine, sm{found.sm}, not for "
                    f"{capability}",
                    hint="remove `compute_capability`, or use `runtime` tensorrt-rtx",
                )
            return BuildTarget(f"sm{found.sm}", found.name)
        if capability is None:
            if found is None:
                raise InputError(
                    "no GPU was given to build the engine for",
                    hint=f"`compute_capability` {', '.join(RTX_CAPABILITIES)}",
                )
            capability = f"sm{found.sm}"
        sm = f"sm{_digits(capability)}"
        if sm not in RTX_CAPABILITIES:
            raise InputError(
                f"TensorRT-RTX does not build for {capability}",
                hint=f"it builds for {', '.join(RTX_CAPABILITIES)}",
            )
        return BuildTarget(sm, found.name if found is not None and sm == f"sm{found.sm}" else None)


@dataclass(frozen=True)
class BuildTarget:
    """A GPU architecture, for example ``sm86``. ``gpu`` is the GPU's name if it is in this machine,
    else None.
    """

    sm: str
    gpu: str | None

    @property
    def is_here(self) -> bool:
        return self.gpu is not None


def has_gpu() -> bool:
    """Whether the NVIDIA driver library reports at least one device."""
    return no_gpu() is None


def device() -> CudaDevice | None:
    """The first GPU that the driver lists, which CUDA uses by default; None if there is none."""
    found = driver()
    return found.devices[0] if found is not None and found.devices else None


def open_library(name: str, module: str, packages: tuple[str, ...], install_hint: str) -> Library:
    """Imports a package.

    Raises:
        EnvironmentLacks: the package is not installed, cannot be loaded, is too old, or does not
            work with this NumPy; or parts of two versions are on the path.
    """
    if find_spec(module) is None:
        raise EnvironmentLacks(f"{name} is not installed", hint=install_hint)
    try:
        trt = importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise EnvironmentLacks(
            f"{name} cannot be loaded: {error}", hint=_loading_hint(str(error), install_hint)
        ) from error
    library = Library(name, trt, str(trt.__version__))
    if not library.ahead_of_time:
        _check_release(library)
    if problem := _two_versions(library, installed_version(*packages)):
        raise EnvironmentLacks(
            problem,
            hint="keep one of them: `pip list`, LD_LIBRARY_PATH and `ldconfig -p` show where they "
            "come from",
        )
    return library


def wants_numpy_1(tensorrt: tuple[int, ...], numpy: tuple[int, ...]) -> bool:
    """Whether this TensorRT version needs NumPy 1 and this NumPy version is newer."""
    return tensorrt[:1] <= NUMPY_1_UP_TO and numpy >= (2,)


def _check_release(library: Library) -> None:
    """
    Raises:
        EnvironmentLacks: this TensorRT is too old, or NumPy too new for it.
    """
    if library.release < OLDEST_BUILT:
        raise EnvironmentLacks(
            f"{library.name} {library.version} is older than {'.'.join(map(str, OLDEST_BUILT))}, "
            f"the oldest that edgekit supports",
            hint="update TensorRT or JetPack, or run the bundle with ONNX Runtime",
        )
    if wants_numpy_1(library.release, _numbers(NUMPY_VERSION)):
        raise EnvironmentLacks(
            f"{library.name} {library.version} returns wrong values with NumPy 2, and NumPy "
            f"{NUMPY_VERSION} is installed: its bindings were compiled for NumPy 1",
            hint=NUMPY_1,
        )


def _loading_hint(message: str, install_hint: str) -> str:
    if "libnvdla" in message:
        return (
            "the container lacks Jetson's DLA libraries: start it with --runtime nvidia, or "
            "install nvidia-l4t-dla-compiler"
        )
    if "libcuda" in message or "libcudart" in message:
        return "install the NVIDIA driver, or start the container with --gpus all"
    return install_hint


def _two_versions(library: Library, distribution: str | None) -> str | None:
    """A message if the module, its distribution and its loaded shared library have different
    versions, else None.
    """
    module = _numbers(library.version)
    if distribution is not None and _numbers(distribution) != module:
        return (
            f"two versions of {library.name} are on the path: the module that Python imports is "
            f"{library.version}, the installed package {distribution}"
        )
    loaded = _loaded_libraries("libtensorrt_rtx" if library.ahead_of_time else "libnvinfer")
    if len(loaded) > 1:
        return f"two versions of {library.name} are loaded: {' and '.join(loaded)}"
    for path in loaded:
        if (found := _library_version(path)) is not None and found != module:
            return (
                f"two versions of {library.name} are on the path: the module is "
                f"{library.version}, {path} is {'.'.join(map(str, found))}"
            )
    return None


def _loaded_libraries(core: str) -> list[str]:
    """The paths of the loaded core library, one per major version; empty if the system does not
    report them. TensorRT and TensorRT-RTX may be loaded together: their libraries have different
    names.
    """
    try:
        lines = MAPS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    by_major = {
        match[1]: match[0]
        for line in lines
        if (match := re.search(rf"/\S*/{core}\.so\.(\d+)[\d.]*", line))
    }
    return [by_major[major] for major in sorted(by_major, key=int)]


def _library_version(path: str) -> tuple[int, ...] | None:
    """The version that the loaded library reports: 8601 is 8.6.1, 101303 is 10.13.3. TensorRT-RTX
    counts as TensorRT 10 does: 10701 is 1.7.1.
    """
    try:
        number = int(ctypes.CDLL(path).getInferLibVersion())
    except (OSError, AttributeError):
        return None
    major = 10_000 if number >= 10_000 else 1_000
    return number // major, number % major // 100, number % 100


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _digits(capability: str) -> str:
    """Normalizes ``sm86``, ``SM_86``, ``86`` or ``8.6`` to ``86``."""
    return capability.lower().removeprefix("sm").replace("_", "").replace(".", "")
