"""A double of the CUDA runtime as cuda-python offers it: the same calls with the same arguments
(read from cuda-bindings 11.8.7, 12.9.4 and 13.1.1).
"""

from __future__ import annotations

import ctypes
import enum
import types
from collections.abc import Callable
from typing import Any

import numpy as np

ERROR = enum.IntEnum(
    "cudaError_t",
    {
        "cudaSuccess": 0,
        "cudaErrorMemoryAllocation": 2,
        "cudaErrorInsufficientDriver": 35,
        "cudaErrorNoDevice": 100,
        "cudaErrorStreamCaptureInvalidated": 901,
    },
)
KIND = enum.IntEnum("cudaMemcpyKind", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2})
MODE = enum.IntEnum("cudaStreamCaptureMode", {"cudaStreamCaptureModeThreadLocal": 1})


class CudaDouble(types.ModuleType):
    """A module ``cuda.bindings.runtime`` whose device is host memory.

    A stream runs nothing before it is synchronized, so what forgets to wait reads old numbers. Its
    clock advances by what each operation is said to take.
    """

    def __init__(self, devices: int = 1, error: int = 0, memory: int | None = None) -> None:
        super().__init__("cuda.bindings.runtime")
        self.cudaMemcpyKind, self.cudaStreamCaptureMode = KIND, MODE
        self.devices, self.error, self.memory = devices, ERROR(error), memory
        self.alive: dict[int, Any] = {}
        self.queues: dict[int, list[tuple[Callable[[], None], float]]] = {}
        self.capturing: list[tuple[Callable[[], None], float]] | None = None
        self.spoiled = False
        self.clock = 0.0
        self.launched: list[str] = []
        self._handles = 0

    def submit(self, stream: int, operation: Callable[[], None], ms: float) -> None:
        (self.queues[int(stream)] if self.capturing is None else self.capturing).append(
            (operation, ms)
        )

    def _handle(self, value: Any) -> int:
        self._handles += 1
        self.alive[self._handles] = value
        return self._handles

    def _release(self, handle: int) -> tuple[Any]:
        del self.alive[int(handle)]
        return (ERROR.cudaSuccess,)

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return (self.error, None) if self.error else (ERROR.cudaSuccess, self.devices)

    def cudaGetErrorName(self, error: Any) -> tuple[Any, ...]:
        return ERROR.cudaSuccess, error.name.encode()

    def cudaGetErrorString(self, error: Any) -> tuple[Any, ...]:
        return ERROR.cudaSuccess, b"in words"

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        if self.memory is not None and size > self.memory:
            return ERROR.cudaErrorMemoryAllocation, None
        memory = (ctypes.c_byte * size)()
        self.alive[ctypes.addressof(memory)] = memory
        return ERROR.cudaSuccess, ctypes.addressof(memory)

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:
        memory = (ctypes.c_byte * size)()
        self.alive[ctypes.addressof(memory)] = memory
        return ERROR.cudaSuccess, ctypes.addressof(memory)

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        return self._release(address)

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        return self._release(address)

    def cudaMemcpyAsync(
        self, to: int, source: int, size: int, kind: Any, stream: int
    ) -> tuple[Any, ...]:
        assert kind in KIND
        self.submit(stream, lambda: ctypes.memmove(to, source, size) and None, 0.1)
        return (ERROR.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        handle = self._handle("stream")
        self.queues[handle] = []
        return ERROR.cudaSuccess, handle

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        return self._release(stream)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        assert self.capturing is None
        queue, self.queues[int(stream)] = self.queues[int(stream)], []
        for operation, ms in queue:
            operation()
            self.clock += ms
        return (ERROR.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: int, mode: Any) -> tuple[Any, ...]:
        assert mode in MODE and not self.queues[int(stream)]
        self.capturing, self.spoiled = [], False
        return (ERROR.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        captured, self.capturing = self.capturing, None
        return (
            (ERROR.cudaErrorStreamCaptureInvalidated, None)
            if self.spoiled
            else (ERROR.cudaSuccess, self._handle(captured))
        )

    def cudaGraphInstantiateWithFlags(self, graph: int, flags: int) -> tuple[Any, ...]:
        return ERROR.cudaSuccess, self._handle(self.alive[graph])

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[Any, ...]:
        self.launched.append("graph")
        self.queues[int(stream)].extend(self.alive[graph])
        return (ERROR.cudaSuccess,)

    def cudaGraphDestroy(self, graph: int) -> tuple[Any, ...]:
        return self._release(graph)

    def cudaGraphExecDestroy(self, graph: int) -> tuple[Any, ...]:
        return self._release(graph)

    def cudaEventCreate(self) -> tuple[Any, ...]:
        return ERROR.cudaSuccess, self._handle([0.0])

    def cudaEventDestroy(self, event: int) -> tuple[Any, ...]:
        return self._release(event)

    def cudaEventRecord(self, event: int, stream: int) -> tuple[Any, ...]:
        def stamp() -> None:
            self.alive[event][0] = self.clock

        self.submit(stream, stamp, 0.0)
        return (ERROR.cudaSuccess,)

    def cudaEventElapsedTime(self, start: int, end: int) -> tuple[Any, ...]:
        return ERROR.cudaSuccess, self.alive[end][0] - self.alive[start][0]


def view(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    size = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer(
        memoryview((ctypes.c_byte * size).from_address(address)), dtype=dtype
    ).reshape(shape)
