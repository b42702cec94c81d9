"""Calls the CUDA runtime through cuda-python, and checks every call.

Both module names of the package work: ``cuda.bindings.runtime`` (12.6 and newer) and
``cuda.cudart``.
"""

from __future__ import annotations

import ctypes
import importlib
from typing import Any

import numpy as np

from edgekit.errors import EnvironmentLacks
from edgekit.machine.driver import CudaDriver, driver
from edgekit.runtimes.base import Array

MODULES = ("cuda.bindings.runtime", "cuda.cudart")
INSUFFICIENT_DRIVER, OUT_OF_MEMORY = 35, 2


class CudaError(EnvironmentLacks):
    """A call of the CUDA runtime failed; ``code`` is its ``cudaError_t``."""

    def __init__(self, call: str, code: int, name: str, text: str) -> None:
        super().__init__(
            f"{call}: {name} ({code}): {text}",
            hint="run `edgekit doctor`; another program on the GPU may be the cause",
        )
        self.call, self.code = call, code


class Cuda:
    """The CUDA calls that a session needs. Addresses are integers, sizes are in bytes, times in
    milliseconds.
    """

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    @classmethod
    def open(cls) -> Cuda:
        """
        Raises:
            EnvironmentLacks: cuda-python is not installed, or there is no driver or GPU for it.
        """
        cuda = cls(_import())
        try:
            if cuda("cudaGetDeviceCount") == 0:
                raise EnvironmentLacks("CUDA finds no GPU", hint="run `edgekit doctor`")
        except CudaError as error:
            raise _explain(error) from error
        except RuntimeError as error:  # cuda-python 11 and 12 raise this if libcuda is missing
            raise EnvironmentLacks(
                f"there is no NVIDIA driver here: {error}", hint="install the NVIDIA driver"
            ) from error
        return cuda

    def __call__(self, call: str, *arguments: Any) -> Any:
        """Calls a function of the CUDA runtime by name. Returns its results without the error code.

        Raises:
            CudaError: the call failed.
        """
        code, *results = getattr(self._runtime, call)(*arguments)
        if int(code) != 0:
            name, text = (
                _text(getattr(self._runtime, ask)(code))
                for ask in ("cudaGetErrorName", "cudaGetErrorString")
            )
            raise CudaError(call, int(code), name, text)
        return results[0] if len(results) == 1 else tuple(results) or None

    def stream(self) -> Any:
        return self(
            "cudaStreamCreateWithFlags", 1
        )  # cudaStreamNonBlocking: it does not wait for the default stream

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, Array]:
        """Allocates pinned host memory. Returns its address, and an array of ``shape`` in it."""
        size = max(1, int(np.prod(shape)) * dtype.itemsize)
        address = int(self("cudaMallocHost", size))
        memory = (ctypes.c_byte * size).from_address(address)
        return address, np.frombuffer(
            memoryview(memory), dtype=dtype, count=int(np.prod(shape))
        ).reshape(shape)

    def copy(self, to: int, source: int, size: int, kind: str, stream: Any) -> None:
        """``kind`` is ``HostToDevice`` or ``DeviceToHost``."""
        self(
            "cudaMemcpyAsync",
            to,
            source,
            size,
            getattr(self._runtime.cudaMemcpyKind, f"cudaMemcpy{kind}"),
            stream,
        )

    def begin_capture(self, stream: Any) -> None:
        self(
            "cudaStreamBeginCapture",
            stream,
            self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal,
        )


def _import() -> Any:
    for name in MODULES:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    found = driver()
    raise EnvironmentLacks(
        "running an engine needs cuda-python, which is not installed",
        hint=f"pip install {'cuda-python' if found is None else _fitting(found)}",
    )


def _fitting(found: CudaDriver) -> str:
    """The package for a driver: a newer major version would not start."""
    return f"'cuda-python<{int(found.version.partition('.')[0]) + 1}'"


def _explain(error: CudaError) -> EnvironmentLacks:
    found = driver()
    if found is None:
        return EnvironmentLacks("there is no NVIDIA driver here", hint="install the NVIDIA driver")
    if error.code == INSUFFICIENT_DRIVER:
        return EnvironmentLacks(
            f"the NVIDIA driver supports CUDA {found.version}, which is too old for cuda-python",
            hint=f"update the driver, or pip install {_fitting(found)}",
        )
    return EnvironmentLacks(f"CUDA cannot start: {error}", hint="run `edgekit doctor`")


def _text(answer: tuple[Any, ...]) -> str:
    text = answer[-1]
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)
