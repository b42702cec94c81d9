"""Queries the CUDA driver library. It creates no context and allocates nothing on a GPU.

Source: NVIDIA's CUDA Driver API (``cuda.h``): cuDriverGetVersion, cuInit, cuDeviceGetCount,
cuDeviceGetName, cuDeviceGetAttribute.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import Any

LIBRARIES = ("libcuda.so.1", "nvcuda.dll")
STUB = 34  # CUDA_ERROR_STUB_LIBRARY, of every function of the stub in CUDA's toolkit
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_RUNTIME = re.compile(r"^nvidia-cuda-runtime(-cu\d+)?$")

Load = Callable[[str], Any]


@dataclass(frozen=True)
class CudaDevice:
    """``compute_capability`` is 8.7 for sm_87."""

    name: str
    compute_capability: str

    @property
    def sm(self) -> int:
        return int(self.compute_capability.replace(".", ""))


@dataclass(frozen=True)
class CudaDriver:
    """``version`` is the newest CUDA version that the driver supports, such as 12.4. ``problem``
    says why no GPU is usable.
    """

    version: str
    devices: tuple[CudaDevice, ...]
    problem: str | None = None


def driver(load: Load = ctypes.CDLL) -> CudaDriver | None:
    """The driver of this machine, or None if there is none."""
    library = _open(load)
    if library is None:
        return None
    number = ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(number))
    version = f"{number.value // 1000}.{number.value % 1000 // 10}"
    if code := library.cuInit(0):
        return CudaDriver(version, (), _error(library, code) + _hidden())
    count = ctypes.c_int(0)
    if code := library.cuDeviceGetCount(ctypes.byref(count)):
        return CudaDriver(version, (), _error(library, code))
    devices = tuple(_device(library, index) for index in range(count.value))
    return CudaDriver(version, devices, None if devices else "it lists no device")


def no_gpu(load: Load = ctypes.CDLL) -> str | None:
    """Why no NVIDIA GPU can be used here, or None if one can."""
    found = driver(load)
    if found is None:
        return "no NVIDIA driver"
    return f"the NVIDIA driver finds no GPU: {found.problem}" if found.problem else None


def runtime_packages() -> dict[str, str]:
    """The CUDA runtime packages that pip installed, with their versions."""
    named = (
        (distribution.metadata["Name"] or "", distribution.version)
        for distribution in distributions()
    )
    return dict(
        sorted(
            (name, version)
            for name, version in named
            if _RUNTIME.match(name.lower().replace("_", "-"))
        )
    )


def _open(load: Load) -> Any:
    for name in LIBRARIES:
        try:
            return load(name)
        except OSError:
            continue
    return None


def _device(library: Any, index: int) -> CudaDevice:
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGetName(name, len(name), index)
    parts = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int(0)
        library.cuDeviceGetAttribute(ctypes.byref(value), attribute, index)
        parts.append(value.value)
    return CudaDevice(name.value.decode(errors="replace"), f"{parts[0]}.{parts[1]}")


def _hidden() -> str:
    """The variable that hides GPUs, if it is set."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f", with CUDA_VISIBLE_DEVICES={visible!r}"


def _error(library: Any, code: int) -> str:
    if code == STUB:
        return f"its libcuda.so.1 is a stub for linking, not the driver ({code})"
    text = ctypes.c_char_p()
    library.cuGetErrorName(code, ctypes.byref(text))
    return f"{text.value.decode() if text.value else 'CUDA error'} ({code})"
