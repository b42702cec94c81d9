"""An engine prepared for one input shape: an execution context, its buffers, and a CUDA graph of
the inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import BadNetwork, EnvironmentLacks
from edgekit.runtimes.base import Array
from edgekit.runtimes.tensorrt.log import last_words
from edgekit.runtimes.tensorrt.running.cuda import Cuda, CudaError
from edgekit.runtimes.tensorrt.running.loading import LoadedEngine

if TYPE_CHECKING:
    import tensorrt

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
_NO_GRAPH = "no CUDA graph, inferences are enqueued layer by layer"


@dataclass(frozen=True)
class Buffer:
    """One input or output: its device address, and its pinned host memory."""

    name: str
    device: int
    host_address: int
    host: Array


class BoundContext:
    """One execution context for fixed shapes, with its buffers and its CUDA graph.

    A CUDA graph depends on the state of the context, so each shape has its own context. A
    ``listener`` is an ``IDebugListener``. It is called on the host during the inference, which a
    CUDA graph cannot do, so no graph is captured then.
    """

    def __init__(
        self,
        loaded: LoadedEngine,
        cuda: Cuda,
        stream: Any,
        shapes: Shapes,
        stack: ExitStack,
        listener: Any = None,
    ) -> None:
        self._cuda, self.stream = cuda, stream
        self.context = _context(loaded, shapes, stream)
        self.inputs = tuple(self._buffer(loaded, name, stack) for name in loaded.names("INPUT"))
        self.outputs = tuple(self._buffer(loaded, name, stack) for name in loaded.names("OUTPUT"))
        self.graph: Any = None
        self.note: str | None = None
        if listener is not None:
            self.context.set_debug_listener(listener)
            self.context.unfused_tensors_debug_state = True
        self._plain()  # the first run does setup work that must not be captured
        cuda("cudaStreamSynchronize", stream)
        if listener is None:
            self._capture(stack)

    def feed(self, feeds: Mapping[str, Array]) -> None:
        for buffer in self.inputs:
            np.copyto(buffer.host, feeds[buffer.name], casting="no")
            self._cuda.copy(
                buffer.device, buffer.host_address, buffer.host.nbytes, "HostToDevice", self.stream
            )

    def launch(self) -> None:
        if self.graph is not None:
            self._cuda("cudaGraphLaunch", self.graph, self.stream)
        else:
            self._plain()

    def fetch(self) -> None:
        for buffer in self.outputs:
            self._cuda.copy(
                buffer.host_address, buffer.device, buffer.host.nbytes, "DeviceToHost", self.stream
            )

    def _plain(self) -> None:
        if not self.context.execute_async_v3(int(self.stream)):
            raise BadNetwork(
                "TensorRT did not start the inference",
                hint="build the engine again; if it stays so, report this with the traceback",
            )

    def _buffer(self, loaded: LoadedEngine, name: str, stack: ExitStack) -> Buffer:
        shape, dtype = tuple(self.context.get_tensor_shape(name)), loaded.dtype(name)
        address, host = self._cuda.pinned(shape, dtype)
        stack.callback(self._cuda, "cudaFreeHost", address)
        device = int(self._cuda("cudaMalloc", max(1, host.nbytes)))
        stack.callback(self._cuda, "cudaFree", device)
        if not self.context.set_tensor_address(name, device):
            raise BadNetwork(f"TensorRT rejects the buffer for {name}")
        return Buffer(name, device, address, host)

    def _capture(self, stack: ExitStack) -> None:
        """Captures one inference as a CUDA graph. If that fails, ``note`` says why and inferences
        are enqueued layer by layer.
        """
        context: Any = self.context
        if hasattr(context, "is_stream_capturable") and not context.is_stream_capturable(
            int(self.stream)
        ):  # TensorRT-RTX
            self.note = f"{_NO_GRAPH}: the library reports that this engine cannot be captured"
            return
        try:
            self._cuda.begin_capture(self.stream)
            started = self.context.execute_async_v3(int(self.stream))
            graph = self._cuda("cudaStreamEndCapture", self.stream)
            stack.callback(self._cuda, "cudaGraphDestroy", graph)
            if not started:
                raise CudaError("execute_async_v3", -1, "TensorRT", "refused while capturing")
            self.graph = self._cuda("cudaGraphInstantiateWithFlags", graph, 0)
            stack.callback(self._cuda, "cudaGraphExecDestroy", self.graph)
        except CudaError as error:
            self.graph, self.note = None, f"{_NO_GRAPH}: {error}"


def _context(loaded: LoadedEngine, shapes: Shapes, stream: Any) -> tensorrt.IExecutionContext:
    """An execution context with its profile and shapes set."""
    context = _new_context(loaded)
    if context is None:
        raise EnvironmentLacks(
            f"the GPU has too little memory to run the engine: {last_words(loaded.log)}",
            hint="use a smaller batch, or stop other programs on the GPU",
        )
    profile = loaded.profile_for(shapes[0][1])
    if profile and not context.set_optimization_profile_async(profile, int(stream)):
        raise BadNetwork(f"TensorRT cannot select profile {profile}: {last_words(loaded.log)}")
    for name, shape in shapes:
        if not context.set_input_shape(name, shape):
            raise BadNetwork(f"TensorRT rejects shape {shape} for {name}: {last_words(loaded.log)}")
    return context


def _new_context(loaded: LoadedEngine) -> tensorrt.IExecutionContext | None:
    """Creates a context. TensorRT-RTX is set to compile kernels for the shape at once: by default
    it starts with slower generic kernels, and a CUDA graph would keep them.
    """
    if not hasattr(loaded.trt, "DynamicShapesKernelSpecializationStrategy"):
        return loaded.engine.create_execution_context()
    engine: Any = loaded.engine
    config = engine.create_runtime_config()
    config.dynamic_shapes_kernel_specialization_strategy = (
        loaded.trt.DynamicShapesKernelSpecializationStrategy.EAGER
    )
    context: tensorrt.IExecutionContext | None = engine.create_execution_context(config)
    return context
