"""What a machine has to compute with on an NVIDIA GPU: driver, CUDA, TensorRT and their versions;
nothing is loaded but the driver's library.
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
    """``distributions`` are the installed packages' versions; ``tensorrt_libraries`` every
    ``libnvinfer`` by the version that its name tells.

    ``has_tensorrt_module``: whether this Python finds a module ``tensorrt``. ``dla_compiler``:
    whether ``libnvdla_compiler.so`` is here, and not empty.
    """

    driver: CudaDriver | None
    cuda_packages: Mapping[str, str]
    distributions: Mapping[str, str]
    has_tensorrt_module: bool
    tensorrt_libraries: Mapping[str, tuple[Path, ...]]
    dla_compiler: bool

    @property
    def tensorrt_module(self) -> str | None:
        """The version of the package behind ``import tensorrt``; None where there is none, or it
        does not tell.
        """
        named = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")
        return next(
            (self.distributions[name] for name in named if name in self.distributions), None
        )

    @property
    def tensorrt(self) -> str | None:
        """The TensorRT that would be used: the module's, else the only library's; None where there
        is neither, or nobody can tell.
        """
        libraries = list(self.tensorrt_libraries)
        return self.tensorrt_module or (libraries[0] if len(libraries) == 1 else None)

    @property
    def sm(self) -> int | None:
        """Of the GPU that CUDA takes by default: 87 for sm_87."""
        return (
            self.driver.devices[0].sm if self.driver is not None and self.driver.devices else None
        )


def accelerators() -> Accelerators:
    """Those of this machine."""
    libraries = Libraries()
    return Accelerators(
        driver=driver(),
        cuda_packages=runtime_packages(),
        distributions=installed_versions(DISTRIBUTIONS),
        has_tensorrt_module=find_spec("tensorrt") is not None,
        tensorrt_libraries=libraries.versions(TENSORRT_LIBRARY),
        dla_compiler=libraries.has(DLA_COMPILER),
    )
