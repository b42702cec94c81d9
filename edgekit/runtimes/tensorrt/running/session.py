"""Runs engines. Buffers are allocated once, host memory is pinned, and each shape has a CUDA graph,
so that an inference is one launch in one stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any

from edgekit.errors import EnvironmentLacks, InputError
from edgekit.runtimes.base import Array
from edgekit.runtimes.tensorrt.api import Module
from edgekit.runtimes.tensorrt.inspection.inspector import inspect_engine
from edgekit.runtimes.tensorrt.inspection.layers import EngineLayer
from edgekit.runtimes.tensorrt.running.context import BoundContext, Shapes
from edgekit.runtimes.tensorrt.running.cuda import OUT_OF_MEMORY, Cuda, CudaError
from edgekit.runtimes.tensorrt.running.loading import LoadedEngine


class EngineSession:
    """An engine in one stream. ``captured`` is whether the last bound shape runs as a CUDA graph;
    ``notes`` say why not.
    """

    def __init__(self, loaded: LoadedEngine, cuda: Cuda, listener: Any = None) -> None:
        self._loaded, self._cuda, self._listener = loaded, cuda, listener
        self._stack = ExitStack()
        self._contexts: dict[Shapes, BoundContext] = {}
        self._bound_context: BoundContext | None = None
        self.inputs = tuple(loaded.spec(name) for name in loaded.names("INPUT"))
        self.outputs = tuple(loaded.spec(name) for name in loaded.names("OUTPUT"))
        self.stream = cuda.stream()
        self._stack.callback(cuda, "cudaStreamDestroy", self.stream)
        self._events = [cuda("cudaEventCreate") for _ in range(2)]
        for event in self._events:
            self._stack.callback(cuda, "cudaEventDestroy", event)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Copies the feeds to the device, runs the engine, and copies the outputs back.

        Raises:
            InputError: the feeds have wrong names, a wrong dtype, or a shape that no profile
                accepts.
            EnvironmentLacks: the GPU has too little memory.
        """
        self.bind(feeds)
        return self.collect()

    def collect(self) -> dict[str, Array]:
        """Runs the engine on the bound feeds, and copies the outputs back."""
        bound = self._bound
        bound.launch()
        bound.fetch()
        self.synchronize()
        return {buffer.name: buffer.host.copy() for buffer in bound.outputs}

    def bind(self, feeds: Mapping[str, Array]) -> None:
        self._bound_context = self._context_for(self._shapes(feeds))
        self._bound_context.feed(feeds)

    def enqueue(self) -> None:
        self._bound.launch()

    def synchronize(self) -> None:
        self._cuda("cudaStreamSynchronize", self.stream)

    def device_ms(self) -> float:
        """Milliseconds of one inference on the device, without copies, measured between two CUDA
        events in the stream.
        """
        bound, (start, end) = self._bound, self._events
        self._cuda("cudaEventRecord", start, self.stream)
        bound.launch()
        self._cuda("cudaEventRecord", end, self.stream)
        self.synchronize()
        return float(self._cuda("cudaEventElapsedTime", start, end))

    @contextmanager
    def profiled(self, profiler: Any) -> Iterator[None]:
        """Inside this context, inferences are enqueued layer by layer and ``profiler`` receives the
        layer times.
        """
        bound = self._bound
        graph, bound.graph = bound.graph, None
        bound.context.profiler = profiler
        try:
            yield
        finally:
            bound.context.profiler = None
            bound.graph = graph

    def layers(self) -> tuple[EngineLayer, ...]:
        """The layers from the engine inspector, with the formats for the last bound shape."""
        return inspect_engine(self.trt, self._loaded.engine, self._bound.context)

    @property
    def trt(self) -> Module:
        """The module of the library that made the engine."""
        return self._loaded.trt

    @property
    def captured(self) -> bool:
        return self._bound.graph is not None

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(bound.note for bound in self._contexts.values() if bound.note is not None)

    @property
    def _bound(self) -> BoundContext:
        if self._bound_context is None:
            raise ValueError("nothing is bound yet: call bind() or run() first")
        return self._bound_context

    def _shapes(self, feeds: Mapping[str, Array]) -> Shapes:
        names = {spec.name for spec in self.inputs}
        if set(feeds) != names:
            raise InputError(
                f"the engine's inputs are {', '.join(sorted(names))}, but the feeds are "
                f"{', '.join(sorted(feeds)) or 'empty'}"
            )
        for spec in self.inputs:
            array = feeds[spec.name]
            fits = len(array.shape) == len(spec.shape) and all(
                a == b for a, b in zip(array.shape[1:], spec.shape[1:], strict=True)
            )
            static = -1 not in tuple(self._loaded.engine.get_tensor_shape(spec.name))
            if (
                array.dtype.name != spec.dtype
                or not fits
                or (static and array.shape[0] != spec.shape[0])
            ):
                raise InputError(
                    f"the engine needs {spec}, but the feed is {array.dtype}{list(array.shape)}"
                )
        return tuple((spec.name, tuple(feeds[spec.name].shape)) for spec in self.inputs)

    def _context_for(self, shapes: Shapes) -> BoundContext:
        if shapes not in self._contexts:
            with ExitStack() as stack:
                try:
                    self._contexts[shapes] = BoundContext(
                        self._loaded, self._cuda, self.stream, shapes, stack, self._listener
                    )
                except CudaError as error:
                    if error.code != OUT_OF_MEMORY:
                        raise
                    raise EnvironmentLacks(
                        f"the GPU has too little memory: {error}",
                        hint="use a smaller batch, or stop other programs on the GPU",
                    ) from error
                self._stack.push(stack.pop_all())
        return self._contexts[shapes]

    def __enter__(self) -> EngineSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._contexts.clear()
        self._bound_context = None
        self._stack.close()


class EngineStreams:
    """An engine in several streams at once, to measure throughput. ``enqueue`` waits for the next
    stream's last inference, then starts a new one in it.
    """

    def __init__(self, loaded: LoadedEngine, cuda: Cuda, streams: int) -> None:
        self.sessions = tuple(EngineSession(loaded, cuda) for _ in range(streams))
        self.inputs, self.outputs = self.sessions[0].inputs, self.sessions[0].outputs
        self._next = 0

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self.sessions[0].run(feeds)

    def bind(self, feeds: Mapping[str, Array]) -> None:
        for session in self.sessions:
            session.bind(feeds)

    def enqueue(self) -> None:
        session = self.sessions[self._next]
        session.synchronize()
        session.enqueue()
        self._next = (self._next + 1) % len(self.sessions)

    def synchronize(self) -> None:
        for session in self.sessions:
            session.synchronize()

    def __enter__(self) -> EngineStreams:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for session in self.sessions:
            session.__exit__(kind, error, trace)
