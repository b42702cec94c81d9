"""The NVIDIA software of a machine: driver, CUDA, TensorRT and their versions. Only the driver's
library is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edgekit.machine.driver import CudaDriver, driver, runtime_packages
from edgekit.machine.libraries import Libraries
from edgekit.version import installed_versions

DISTRIBUTIONS = (
    "tensorrt",
    "tensorrt-cu13",
    "tensorrt-cu12",
    "tensorrt-rtx",
    "onnxruntime",
    "onnxruntime-gpu",
    "cuda-python",
    "cuda-bindings",
)
TENSORRT_LIBRARY, DLA_COMPILER = "libnvinfer", "libnvdla_compiler.so"


@dataclass(frozen=True)
class Accelerators:
    """``distributions`` are the versions of installed packages. ``tensorrt_libraries`` are the
    paths of all ``libnvinfer`` files, by the version in their name.

    ``has_tensorrt_module``: whether this Python finds a module ``tensorrt``. ``dla_compiler``:
    whether ``libnvdla_compiler.so`` exists and is not empty.
    """

    driver: CudaDriver | None
    cuda_packages: Mapping[str, str]
    distributions: Mapping[str, str]
    has_tensorrt_module: bool
    tensorrt_libraries: Mapping[str, tuple[Path, ...]]
    dla_compiler: bool

    @property
    def tensorrt_module(self) -> str | None:
        """The version of the package of ``import tensorrt``; None if missing or unknown."""
        named = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")
        return next(
            (self.distributions[name] for name in named if name in self.distributions), None
        )

    @property
    def tensorrt(self) -> str | None:
        """The TensorRT version that would be used: the module's, else that of the only library.
        None if missing or ambiguous.
        """
        libraries = list(self.tensorrt_libraries)
        return self.tensorrt_module or (libraries[0] if len(libraries) == 1 else None)

    @property
    def sm(self) -> int | None:
        """The SM version of CUDA's default GPU: 87 for sm_87. None if unknown."""
        return (
            self.driver.devices[0].sm if self.driver is not None and self.driver.devices else None
        )


def accelerators() -> Accelerators:
    """Describes this machine."""
    libraries = Libraries()
    return Accelerators(
        driver=driver(),
        cuda_packages=runtime_packages(),
        distributions=installed_versions(DISTRIBUTIONS),
        has_tensorrt_module=find_spec("tensorrt") is not None,
        tensorrt_libraries=libraries.versions(TENSORRT_LIBRARY),
        dla_compiler=libraries.has(DLA_COMPILER),
    )
